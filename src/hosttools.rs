//! Programs of this machine that builds run: which are missing, and the command that installs them here.
//! Knows four families of distributions and what they call things; nothing of how recipes come about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::layout::room;
use crate::names::PackageName;
use crate::recipe::Recipe;

/// A program that is not there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// Its name, or its path where a recipe names that.
    pub tool: String,
    /// Packages of the tree whose recipes need it, in build order.
    pub packages: Vec<PackageName>,
}

/// Where a step would find a program of this machine.
pub fn find(tool: &str) -> Option<PathBuf> {
    if tool.contains('/') {
        return Some(PathBuf::from(tool)).filter(|path| is_program(path));
    }
    room::PATH.split(':').map(|folder| Path::new(folder).join(tool)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// What these recipes name in `HOSTTOOLS` and this machine lacks, by name.
pub fn missing<'a>(recipes: impl IntoIterator<Item = &'a Recipe>) -> Vec<Missing> {
    let mut users: BTreeMap<&str, Vec<PackageName>> = BTreeMap::new();
    for recipe in recipes {
        for tool in recipe.host_tools() {
            users.entry(tool).or_default().push(recipe.name.clone());
        }
    }
    let absent = users.into_iter().filter(|(tool, _)| find(tool).is_none());
    absent.map(|(tool, packages)| Missing { tool: tool.to_owned(), packages }).collect()
}

/// Fails, naming every program that these recipes need and this machine lacks, who needs it, and what installs it.
pub fn check<'a>(recipes: impl IntoIterator<Item = &'a Recipe>) -> Result<()> {
    let missing = missing(recipes);
    if missing.is_empty() {
        return Ok(());
    }
    let tools: Vec<&str> = missing.iter().map(|missing| missing.tool.as_str()).collect();
    let error = Error::new(Kind::Host, format!("this machine lacks `{}`", tools.join("`, `")));
    let error = missing.iter().fold(error, |error, missing| {
        error.at(format!("`{}` is needed by {}", missing.tool, users(&missing.packages)))
    });
    Err(remedies(&tools).into_iter().fold(error, Error::hint))
}

/// At most four packages by name.
pub fn users(packages: &[PackageName]) -> String {
    let mut names: Vec<String> = packages.iter().take(4).map(|name| format!("`{name}`")).collect();
    if packages.len() > names.len() {
        names.push(format!("and {} more", packages.len() - names.len()));
    }
    names.join(", ")
}

/// What to do about missing programs, a line each.
pub fn remedies(tools: &[&str]) -> Vec<String> {
    let os_release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let Some(distribution) = Distribution::of(&os_release) else {
        return vec![format!("install `{}` with this machine's own package manager", tools.join("`, `"))];
    };
    let mut lines: Vec<String> =
        distribution.install(tools, nix::unistd::geteuid().is_root()).into_iter().collect();
    let unknown: Vec<&str> =
        tools.iter().copied().filter(|tool| distribution.package(tool).is_none()).collect();
    if !unknown.is_empty() {
        let search = match unknown[..] {
            [tool] => distribution.search().replace("NAME", tool.rsplit('/').next().unwrap_or(tool)),
            _ => distribution.search().to_owned(),
        };
        lines.push(format!(
            "it is not known here which package holds `{}`; try `{search}`",
            unknown.join("`, `")
        ));
    }
    lines
}

/// A family of distributions with one package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu, Mint, …: apt.
    Debian,
    /// Fedora, Red Hat, Rocky, …: dnf.
    Fedora,
    /// Arch, Manjaro, …: pacman.
    Arch,
    /// Alpine, postmarketOS: apk.
    Alpine,
}

impl Distribution {
    /// Takes the text of `/etc/os-release`: `ID`, else the first known word of `ID_LIKE`.
    pub fn of(os_release: &str) -> Option<Distribution> {
        let value = |name: &str| {
            let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        let words = format!("{} {}", value("ID"), value("ID_LIKE"));
        words.split_whitespace().find_map(|word| match word {
            "debian" | "ubuntu" => Some(Distribution::Debian),
            "fedora" | "rhel" | "centos" => Some(Distribution::Fedora),
            "arch" | "archlinux" => Some(Distribution::Arch),
            "alpine" | "postmarketos" => Some(Distribution::Alpine),
            _ => None,
        })
    }

    /// The package that holds a program, where that is known.
    pub fn package(self, tool: &str) -> Option<String> {
        let tool = tool.rsplit('/').next().unwrap_or(tool);
        let column = match self {
            Distribution::Debian => 0,
            Distribution::Fedora => 1,
            Distribution::Arch => 2,
            Distribution::Alpine => 3,
        };
        for (tools, packages) in PACKAGES {
            if tools.split(' ').any(|known| known == tool) {
                // One name for all, or one for each.
                let names: Vec<&str> = packages.split(' ').collect();
                let name = names.get(column).or(names.first()).copied().unwrap_or_default();
                return Some(name).filter(|name| *name != "-").map(str::to_owned);
            }
        }
        self.cross_package(tool)
    }

    /// The package of a cross compiler's program, `TRIPLET-TOOL`.
    fn cross_package(self, tool: &str) -> Option<String> {
        let (triplet, program) = tool.rsplit_once('-')?;
        if triplet.split('-').count() < 3 || !triplet.contains("linux") {
            return None;
        }
        let part = match program {
            "gcc" | "cpp" | "gcov" => "gcc",
            "g++" | "c++" => "g++",
            "ar" | "as" | "ld" | "nm" | "objcopy" | "objdump" | "ranlib" | "readelf" | "size" | "strings"
            | "strip" => "binutils",
            _ => return None,
        };
        match (self, part) {
            (Distribution::Debian, _) => Some(format!("{part}-{}", triplet.replace('_', "-"))),
            (Distribution::Fedora, "g++") => Some(format!("gcc-c++-{triplet}")),
            (Distribution::Fedora, _) => Some(format!("{part}-{triplet}")),
            (Distribution::Arch, "g++") => Some(format!("{triplet}-gcc")),
            (Distribution::Arch, _) => Some(format!("{triplet}-{part}")),
            (Distribution::Alpine, _) => None,
        }
    }

    /// The exact command that installs what holds these programs; none when nothing is known of any of them.
    pub fn install(self, tools: &[&str], root: bool) -> Option<String> {
        let mut packages: Vec<String> = tools.iter().filter_map(|tool| self.package(tool)).collect();
        packages.sort();
        packages.dedup();
        if packages.is_empty() {
            return None;
        }
        let (become_root, command) = match self {
            Distribution::Debian => ("sudo ", "apt-get install"),
            Distribution::Fedora => ("sudo ", "dnf install"),
            Distribution::Arch => ("sudo ", "pacman -S --needed"),
            Distribution::Alpine => ("doas ", "apk add"),
        };
        Some(format!("{}{command} {}", if root { "" } else { become_root }, packages.join(" ")))
    }

    /// The command that finds the package of a program.
    fn search(self) -> &'static str {
        match self {
            Distribution::Debian => "apt-file search --regexp 'bin/NAME$'",
            Distribution::Fedora => "dnf provides '*/bin/NAME'",
            Distribution::Arch => "pacman -F NAME",
            Distribution::Alpine => "apk search cmd:NAME",
        }
    }
}

/// Programs, and the package that holds them: one name everywhere, or those of Debian, Fedora, Arch and Alpine; `-`: none.
const PACKAGES: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("make", "make"),
    ("gcc cpp gcov", "gcc"),
    ("cc", "gcc"),
    ("g++ c++", "g++ gcc-c++ gcc g++"),
    ("clang clang++", "clang"),
    ("ld.lld lld", "lld"),
    ("ar as ld nm objcopy objdump ranlib readelf size strings strip addr2line", "binutils"),
    ("cp mv ln mkdir install sha256sum sort cut tr date stat touch truncate numfmt nproc", "coreutils"),
    ("sed", "sed"),
    ("grep", "grep"),
    ("awk gawk", "gawk"),
    ("find xargs", "findutils"),
    ("diff cmp", "diffutils"),
    ("patch", "patch"),
    ("tar", "tar"),
    ("cpio", "cpio"),
    ("gzip gunzip zcat", "gzip"),
    ("bzip2", "bzip2"),
    ("xz lzma unxz", "xz-utils xz xz xz"),
    ("zstd", "zstd"),
    ("lz4", "lz4"),
    ("lzip", "lzip"),
    ("lzop", "lzop"),
    ("zip", "zip"),
    ("unzip", "unzip"),
    ("file", "file"),
    ("bc", "bc"),
    ("bison yacc", "bison"),
    ("flex lex", "flex"),
    ("m4", "m4"),
    ("gperf", "gperf"),
    ("zic", "libc-bin glibc-common tzdata tzdata-utils"),
    ("tic infocmp tput", "ncurses-bin ncurses ncurses ncurses"),
    ("perl", "perl"),
    ("python3", "python3 python3 python python3"),
    ("tclsh", "tcl"),
    ("lua", "lua5.4 lua lua lua5.4"),
    ("ruby", "ruby"),
    ("pkg-config pkgconf", "pkg-config pkgconf-pkg-config pkgconf pkgconf"),
    ("cmake ctest cpack", "cmake"),
    ("meson", "meson"),
    ("ninja", "ninja-build ninja-build ninja samurai"),
    ("scons", "scons"),
    ("autoconf autoreconf autoheader autom4te", "autoconf"),
    ("automake aclocal", "automake"),
    ("libtoolize", "libtool"),
    ("libtool", "libtool-bin libtool libtool libtool"),
    ("autopoint", "autopoint gettext-devel gettext gettext-dev"),
    ("msgfmt xgettext msgmerge gettext", "gettext"),
    ("intltoolize", "intltool"),
    ("makeinfo texi2any", "texinfo"),
    ("help2man", "help2man"),
    ("xsltproc", "xsltproc libxslt libxslt libxslt"),
    ("xmllint", "libxml2-utils libxml2 libxml2 libxml2-utils"),
    ("asciidoctor", "asciidoctor rubygem-asciidoctor asciidoctor asciidoctor"),
    ("depmod modprobe modinfo", "kmod"),
    ("rsync", "rsync"),
    ("git", "git"),
    ("curl", "curl"),
    ("wget", "wget"),
    ("openssl", "openssl"),
    ("gpg", "gnupg gnupg2 gnupg gnupg"),
    ("ssh scp", "openssh-client openssh-clients openssh openssh-client"),
    ("ssh-keygen", "openssh-client openssh openssh openssh-keygen"),
    ("mksquashfs unsquashfs", "squashfs-tools"),
    ("mkfs.erofs fsck.erofs dump.erofs", "erofs-utils"),
    ("mke2fs mkfs.ext2 mkfs.ext3 mkfs.ext4 e2fsck debugfs tune2fs resize2fs", "e2fsprogs"),
    ("mkfs.btrfs btrfs", "btrfs-progs"),
    ("mkfs.f2fs", "f2fs-tools"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.vfat mkfs.fat mkdosfs fsck.fat", "dosfstools"),
    ("mcopy mformat mmd mdir", "mtools"),
    ("mkfs.ubifs mkfs.jffs2 ubinize", "mtd-utils"),
    ("genimage", "genimage genimage - -"),
    ("linuxx64.efi.stub linuxaa64.efi.stub", "systemd-boot-efi systemd-boot-unsigned systemd -"),
    ("bsdtar", "libarchive-tools bsdtar libarchive libarchive-tools"),
    ("signify-openbsd", "signify-openbsd - - -"),
    ("sfdisk fdisk", "fdisk util-linux util-linux sfdisk"),
    ("sgdisk gdisk", "gdisk gdisk gptfdisk sgdisk"),
    ("parted", "parted"),
    ("dtc fdtput", "device-tree-compiler dtc dtc dtc"),
    ("mkimage dumpimage", "u-boot-tools uboot-tools uboot-tools u-boot-tools"),
    ("swig", "swig"),
    ("xorriso", "xorriso xorriso libisoburn xorriso"),
    ("flock getopt setsid", "util-linux"),
    ("hexdump", "bsdextrautils util-linux util-linux util-linux-misc"),
    ("xxd", "xxd vim-common vim xxd"),
    ("patchelf", "patchelf"),
    ("chrpath", "chrpath"),
    ("fakeroot", "fakeroot"),
    ("ccache", "ccache"),
    ("nasm", "nasm"),
    ("go", "golang-go golang go go"),
    ("rustc", "rustc rust rust rust"),
    ("cargo", "cargo cargo rust cargo"),
    ("qemu-system-x86_64", "qemu-system-x86 qemu-system-x86 qemu-system-x86 qemu-system-x86_64"),
    ("qemu-system-aarch64", "qemu-system-arm qemu-system-aarch64 qemu-system-aarch64 qemu-system-aarch64"),
    ("qemu-system-arm", "qemu-system-arm"),
    ("qemu-system-riscv64", "qemu-system-misc qemu-system-riscv qemu-system-riscv qemu-system-riscv64"),
    ("qemu-img", "qemu-utils qemu-img qemu-img qemu-img"),
    ("shellcheck", "shellcheck ShellCheck shellcheck shellcheck"),
    ("dpkg-source", "dpkg-dev dpkg-dev dpkg dpkg-dev"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Distribution; 4] =
        [Distribution::Debian, Distribution::Fedora, Distribution::Arch, Distribution::Alpine];

    #[test]
    fn a_distribution_is_known_by_its_id_or_by_what_it_is_like() {
        let of = |text: &str| Distribution::of(text);
        assert_eq!(of("NAME=x\nID=debian\n"), Some(Distribution::Debian));
        assert_eq!(of("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some(Distribution::Debian));
        assert_eq!(of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Some(Distribution::Fedora));
        assert_eq!(of("ID=manjaro\nID_LIKE=arch\n"), Some(Distribution::Arch));
        assert_eq!(of("ID=alpine\nVERSION_ID=3.20.0\n"), Some(Distribution::Alpine));
        assert_eq!(of("VERSION_ID=debian\nID=nixos\n"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn each_distribution_has_its_command_and_its_names() {
        let tools = ["bc", "xz", "g++", "mksquashfs", "unsquashfs", "no-such-thing"];
        let commands = ALL.map(|distribution| distribution.install(&tools, false).unwrap());
        assert_eq!(
            commands,
            [
                "sudo apt-get install bc g++ squashfs-tools xz-utils",
                "sudo dnf install bc gcc-c++ squashfs-tools xz",
                "sudo pacman -S --needed bc gcc squashfs-tools xz",
                "doas apk add bc g++ squashfs-tools xz",
            ]
        );
        assert_eq!(Distribution::Alpine.install(&["bc"], true).unwrap(), "apk add bc");
        assert_eq!(Distribution::Debian.install(&["no-such-thing"], true), None);
    }

    #[test]
    fn cross_compilers_are_known_by_their_form() {
        let of = |tool| ALL.map(|distribution| distribution.package(tool));
        let some = |names: [&str; 3]| names.map(|name| Some(name.to_owned()));
        assert_eq!(
            of("aarch64-linux-gnu-gcc")[..3],
            some(["gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"])
        );
        assert_eq!(
            of("riscv64-linux-gnu-ld")[..3],
            some(["binutils-riscv64-linux-gnu", "binutils-riscv64-linux-gnu", "riscv64-linux-gnu-binutils"])
        );
        assert_eq!(
            Distribution::Debian.package("x86_64-linux-gnu-g++").as_deref(),
            Some("g++-x86-64-linux-gnu")
        );
        assert_eq!(of("my-gcc"), [None, None, None, None]);
    }

    #[test]
    fn the_table_names_each_program_once_and_one_or_four_packages() {
        let mut seen = std::collections::BTreeSet::new();
        for (tools, packages) in PACKAGES {
            assert!([1, 4].contains(&packages.split(' ').count()), "{packages}");
            for tool in tools.split(' ') {
                assert!(seen.insert(tool), "{tool}");
            }
        }
    }

    #[test]
    fn programs_are_looked_for_where_steps_find_them() {
        assert!(find("sh").is_some() && find("/bin/sh").is_some());
        assert!(find("no-such-program").is_none() && find("/etc/passwd").is_none());
    }
}
