//! Classifying, stripping and comparing real files, made by the machine's own compilers.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use mk::elf::{self, Elf, Kind};
use mk::finish;
use mk::strip::{self, Plan};

const X86: &str = "x86_64-linux-musl";

/// A folder with files in it.
struct Deploy(tempfile::TempDir);

impl Deploy {
    fn new() -> Deploy {
        Deploy(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn text(&self, name: &str, text: impl AsRef<[u8]>) -> &Deploy {
        fs_err::write(self.path(name), text).unwrap();
        self
    }

    fn mode(&self, name: &str, mode: u32) -> &Deploy {
        fs_err::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Runs a command line in the folder; `%` stands for a C source with a function, a variable, and `main`.
    fn run(&self, line: &str) -> &Deploy {
        let source = self.0.path().join(".source.c");
        let code = "int counter = 3; static int add(int a) { return a + counter; }\n\
            int main(int n, char **v) { (void)v; return add(n); }\n";
        fs_err::write(&source, code).unwrap();
        let words: Vec<_> = line.split(' ').map(|w| if w == "%" { ".source.c" } else { w }).collect();
        for word in &words {
            self.path(word);
        }
        let output = Command::new(words[0]).args(&words[1..]).current_dir(self.root()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        self
    }

    fn classify(&self, name: &str) -> Elf {
        elf::classify(&self.root().join(name)).unwrap()
    }

    fn kind(&self, name: &str) -> Kind {
        self.classify(name).kind
    }

    fn plan(&self, target: &str) -> Plan {
        strip::plan(self.root(), target).unwrap()
    }

    /// Carries a plan out, as the executor does in a room.
    fn strip(&self, program: &str, plan: &Plan) {
        plan.unlock(self.root()).unwrap();
        for call in &plan.calls {
            let mut command = Command::new(program);
            command.args(&call.options).args(&call.files).current_dir(self.root());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        plan.relock(self.root()).unwrap();
    }

    /// All that a plan would strip, with the first option.
    fn planned(&self, target: &str) -> Vec<String> {
        let line = |option: &str, file: &Path| format!("{option} {}", file.display());
        let plan = self.plan(target);
        plan.calls.iter().flat_map(|c| c.files.iter().map(|f| line(c.options[0], f))).collect()
    }
}

/// A kernel module as far as anybody can tell from outside.
const MODULE: &str =
    ".section .modinfo,\"a\"\n.asciz \"license=GPL\"\n.text\n.globl init_module\ninit_module: ret\n";

#[test]
fn every_kind_is_told_from_a_real_file() {
    let d = Deploy::new();
    d.run("gcc -g % -o pie").run("gcc -no-pie % -o fixed").run("gcc -static-pie % -o static");
    d.run("gcc -shared -fPIC % -o plain.so").run("gcc -shared -fPIC -Wl,-soname,libx.so.1 % -o libx.so");
    d.run("gcc -c % -o object.o")
        .run("ar rc libx.a object.o")
        .run("ar rcT thin.a object.o")
        .run("ar rc empty.a");
    d.text("module.s", MODULE).run("gcc -c module.s -o module.ko");
    d.text("script", "#!/bin/sh\n").text("nothing", "").text("short", "\x7fEL");
    for (name, kind) in [
        ("pie", Kind::Executable),
        ("fixed", Kind::Executable),
        ("static", Kind::Executable),
        ("plain.so", Kind::SharedObject),
        ("libx.so", Kind::SharedObject),
        ("object.o", Kind::Relocatable),
        ("module.ko", Kind::KernelModule),
        ("libx.a", Kind::StaticArchive),
        ("empty.a", Kind::StaticArchive),
        ("thin.a", Kind::NotElf),
        ("script", Kind::NotElf),
        ("nothing", Kind::NotElf),
        ("short", Kind::NotElf),
    ] {
        assert_eq!(d.kind(name), kind, "{name}");
        assert_eq!(d.classify(name).broken, None, "{name}");
    }
    let mut core = fs_err::read(d.path("object.o")).unwrap();
    core[16] = 4;
    assert_eq!(d.text("core", core).kind("core"), Kind::Core);
}

#[test]
fn a_library_that_can_also_be_run_is_a_library() {
    let d = Deploy::new();
    d.text("i.c", "const char loader[] __attribute__((section(\".interp\"))) = \"/lib/ld.so\";\n");
    d.run("gcc -shared -fPIC -Wl,-soname,libc.so.6 i.c -o libc.so.6");
    assert_eq!(d.kind("libc.so.6"), Kind::SharedObject);
    assert_eq!(elf::linkage(&d.path("libc.so.6")).unwrap().interpreter.unwrap(), "/lib/ld.so");
}

#[test]
fn the_machine_is_that_of_the_compiler() {
    let d = Deploy::new();
    d.run("gcc -c % -o a.o").run("gcc -m32 -c % -o b.o").run("aarch64-linux-gnu-gcc -c % -o c.o");
    d.run("aarch64-linux-gnu-gcc -mbig-endian -c % -o d.o").run("aarch64-linux-gnu-ar rc e.a c.o");
    let machine = |name| d.classify(name).machine.unwrap().to_string();
    assert_eq!(["a.o", "b.o", "c.o", "e.a"].map(machine), ["x86_64", "i386", "aarch64", "aarch64"]);
    assert_eq!(machine("d.o"), "aarch64 (64 bit, big endian)");
}

#[test]
fn what_a_program_needs_is_read_from_it() {
    let d = Deploy::new();
    d.run("gcc -shared -fPIC -Wl,-soname,libx.so.1 % -o libx.so");
    d.text("p.c", "extern int counter; int main(void) { return counter; }\n");
    d.run("gcc p.c -o new libx.so -Wl,-rpath,/lib/a:/lib/b");
    d.run("gcc p.c -o old libx.so -Wl,-rpath,/lib/a,--disable-new-dtags");
    let new = elf::linkage(&d.path("new")).unwrap();
    assert_eq!(new.needed, ["libx.so.1", "libc.so.6"]);
    assert_eq!(new.runpath.as_deref(), Some("/lib/a:/lib/b"));
    assert_eq!((new.rpath, new.soname), (None, None));
    assert!(new.interpreter.unwrap().ends_with("/ld-linux-x86-64.so.2"));
    assert_eq!(elf::linkage(&d.path("old")).unwrap().rpath.as_deref(), Some("/lib/a"));
    let library = elf::linkage(&d.path("libx.so")).unwrap();
    assert_eq!((library.soname.as_deref(), library.interpreter), (Some("libx.so.1"), None));
    d.run("gcc -c % -o object.o").text("script", "#!/bin/sh\n");
    assert_eq!(elf::linkage(&d.path("object.o")).unwrap(), elf::Linkage::default());
    assert_eq!(elf::linkage(&d.path("script")).unwrap(), elf::Linkage::default());
}

#[test]
fn no_truncation_and_no_wrong_byte_makes_it_panic() {
    let d = Deploy::new();
    d.run("gcc -c % -o object.o")
        .run("ar rc lib.a object.o")
        .run("gcc -s -nostdlib -shared -fPIC % -o lib.so");
    let victim = d.path("victim");
    let look = |bytes: &[u8]| {
        // Not written over: some file systems put that onto the disk at once.
        let _ = fs_err::remove_file(&victim);
        fs_err::write(&victim, bytes).unwrap();
        let _ = (elf::linkage(&victim), elf::regions(&victim));
        elf::classify(&victim).unwrap()
    };
    for name in ["object.o", "lib.a", "lib.so"] {
        let good = fs_err::read(d.path(name)).unwrap();
        for length in (0..good.len()).step_by(if good.len() > 4000 { 37 } else { 5 }) {
            look(&good[..length]);
        }
        let tables = good.len().saturating_sub(1500)..good.len();
        for at in (0..good.len().min(400)).chain(tables) {
            for value in [0, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                look(&bad);
            }
        }
    }
    let half = fs_err::read(d.path("object.o")).unwrap();
    let broken = look(&half[..half.len() / 2]);
    assert_eq!((broken.kind, broken.broken.is_some()), (Kind::NotElf, true));
    let error = elf::regions(&victim).unwrap_err().to_string();
    assert!(
        error.contains("/victim` is a broken ELF file: its section table lies beyond the end"),
        "{error}"
    );
}

#[test]
fn a_file_with_more_sections_than_the_header_can_count_is_read() {
    let d = Deploy::new();
    let lines: String = (0..66_000).map(|n| format!(".section s{n}\n")).collect();
    d.text("many.s", lines + ".section .debug_info\n.byte 1\n").run("as many.s -o many.o");
    assert!(elf::regions(&d.path("many.o")).unwrap().len() > 66_000);
    assert!(!d.classify("many.o").stripped);
}

#[test]
fn each_kind_is_stripped_in_its_own_way_and_afterwards_nothing_is_left_to_do() {
    let d = Deploy::new();
    d.run("gcc -g % -o bin/tool")
        .run("gcc -g % -o usr/bin/other")
        .run("gcc -g -shared -fPIC % -o lib/libx.so.1");
    d.run("gcc -g -c % -o lib/crt1.o").run("ar rcU lib/libx.a lib/crt1.o");
    d.text("m.s", MODULE).run("gcc -g -c m.s -o lib/modules/6.1/x.ko");
    d.run("gcc -g % -o share/example").run("gcc -g % -o sbin/elsewhere");
    let names = |d: &Deploy| d.planned(X86).join("\n");
    assert_eq!(
        names(&d),
        "--strip-all bin/tool\n--strip-all usr/bin/other\n--strip-unneeded lib/libx.so.1\n\
         --strip-debug lib/crt1.o\n--strip-debug lib/libx.a\n--strip-debug lib/modules/6.1/x.ko"
    );
    assert_eq!(d.plan(X86).calls.len(), 3);
    d.strip("strip", &d.plan(X86));
    assert_eq!(names(&d), "");
    let sections =
        |name| elf::regions(&d.path(name)).unwrap().into_iter().map(|r| r.name).collect::<Vec<_>>();
    assert!(!sections("bin/tool").contains(&".symtab".into()));
    assert!(sections("lib/libx.so.1").contains(&".dynsym".into()));
    assert!(sections("lib/modules/6.1/x.ko").contains(&".symtab".into()), "the kernel needs it");
    assert!(sections("lib/modules/6.1/x.ko").contains(&".modinfo".into()));
    assert_eq!(sections("lib/libx.a"), ["crt1.o"]);
    // The archive's symbols are still there to be linked with.
    d.text("p.c", "extern int counter; int other(void) { return counter; }\n");
    d.run("gcc -nostartfiles p.c lib/libx.a -o linked");
    assert!(!d.classify("share/example").stripped && !d.classify("sbin/elsewhere").stripped);
}

#[test]
fn an_archive_with_times_in_it_is_made_deterministic() {
    let d = Deploy::new();
    d.run("gcc -c % -o x.o").run("ar rcU lib/times.a x.o").run("ar rcD lib/fixed.a x.o");
    assert_eq!(d.planned(X86), ["--strip-debug lib/times.a"]);
    d.strip("strip", &d.plan(X86));
    assert_eq!(d.planned(X86), [""; 0]);
}

#[test]
fn links_scripts_modes_and_hard_links_stay_as_they_were() {
    let d = Deploy::new();
    d.run("gcc -g % -o bin/a").text("bin/script", "#!/bin/sh\n").text("lib/libc.so", "GROUP ( libc.so.6 )\n");
    fs_err::hard_link(d.path("bin/a"), d.path("bin/b")).unwrap();
    d.run("gcc -g % -o bin/su")
        .mode("bin/su", 0o4555)
        .run("gcc -g % -o lib/sub/ro")
        .mode("lib/sub/ro", 0o444);
    symlink("a", d.path("bin/link")).unwrap();
    symlink("/bin", d.path("lib/out")).unwrap();
    symlink("/usr", d.path("usr")).unwrap();
    d.mode("lib/sub", 0o555);
    assert_eq!(d.planned(X86), ["--strip-all bin/a", "--strip-all bin/su", "--strip-all lib/sub/ro"]);

    let plan = d.plan(X86);
    plan.unlock(d.root()).unwrap();
    let mode = |name: &str| fs_err::metadata(d.root().join(name)).unwrap().mode() & 0o7777;
    assert_eq!([mode("bin/su"), mode("lib/sub"), mode("lib/sub/ro")], [0o4755, 0o755, 0o644]);
    d.strip("strip", &plan);
    assert_eq!([mode("bin/su"), mode("lib/sub"), mode("lib/sub/ro")], [0o4555, 0o555, 0o444]);
    let inode = |name: &str| fs_err::metadata(d.root().join(name)).unwrap().ino();
    assert_eq!(inode("bin/a"), inode("bin/b"));
    assert!(d.classify("bin/b").stripped);
    assert_eq!(fs_err::read_link(d.path("bin/link")).unwrap(), Path::new("a"));
    assert_eq!(fs_err::read_to_string(d.path("bin/script")).unwrap(), "#!/bin/sh\n");
}

#[test]
fn a_file_for_another_machine_is_an_error_that_names_both() {
    let d = Deploy::new();
    d.run("gcc % -o bin/helper").run("gcc -c % -o x.o").run("ar rc lib/libx.a x.o");
    let error = strip::plan(d.root(), "aarch64-linux-musl").unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: `bin/helper` is for x86_64, but TARGET `aarch64-linux-musl` needs aarch64\n  \
         also lib/libx.a: x86_64\n\
         hint: the recipe must compile with the cross compiler, `<TARGET>-gcc`\n\
         hint: a program that runs on the build machine belongs into TCDIR, not into the deploy folder"
    );
    assert_eq!(d.planned("z80-unknown-elf"), ["--strip-all bin/helper"], "nobody knows what z80 means");
}

#[test]
fn another_machine_is_stripped_by_its_own_strip() {
    let d = Deploy::new();
    d.run("aarch64-linux-gnu-gcc -g % -o bin/tool").run("aarch64-linux-gnu-gcc -g -c % -o lib/x.o");
    d.strip("aarch64-linux-gnu-strip", &d.plan("aarch64-linux-musl"));
    assert_eq!(d.planned("aarch64-linux-musl"), [""; 0]);
}

#[test]
fn firmware_signed_modules_and_broken_files_are_left_alone() {
    let d = Deploy::new();
    d.run("aarch64-linux-gnu-gcc -g -c % -o lib/firmware/dsp.elf");
    d.text("m.s", MODULE).run("gcc -g -c m.s -o m.ko");
    let mut module = fs_err::read(d.path("m.ko")).unwrap();
    module.extend_from_slice(b"signature~Module signature appended~\n");
    d.text("lib/modules/x.ko", module).text("lib/test/corrupt.so", "\x7fELF and then nothing");
    assert!(d.classify("lib/modules/x.ko").signed);
    let plan = d.plan(X86);
    assert_eq!(plan.calls, []);
    assert_eq!(plan.broken.len(), 1);
    assert_eq!(plan.broken[0].0, Path::new("lib/test/corrupt.so"));
}

#[test]
fn a_pipe_in_lib_is_not_waited_for() {
    let d = Deploy::new();
    nix::unistd::mkfifo(&d.path("lib/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(d.planned(X86), [""; 0]);
    assert_eq!(d.kind("lib/pipe"), Kind::NotElf);
}

#[test]
fn the_first_difference_of_two_builds_names_section_and_member() {
    let (a, b) = (Deploy::new(), Deploy::new());
    for (d, word) in [(&a, "one"), (&b, "two")] {
        d.run("gcc % -o bin/same")
            .text("p.c", format!("const char *s = \"{word}\"; int main(void) {{ return s[0]; }}\n"));
        d.run("gcc p.c -o bin/tool")
            .run("gcc -c p.c -o x.o")
            .run("gcc -c % -o y.o")
            .run("ar rcD lib/l.a y.o x.o");
    }
    for d in [&a, &b] {
        for extra in [".source.c", "p.c", "x.o", "y.o"] {
            fs_err::remove_file(d.root().join(extra)).unwrap();
        }
    }
    let difference = || finish::first_difference(a.root(), b.root()).unwrap().map(|d| d.to_string());
    let found = difference().unwrap();
    assert!(found.starts_with("`bin/tool`: `.rodata` differs from its byte "), "{found}");
    fs_err::copy(a.path("bin/tool"), b.path("bin/tool")).unwrap();
    let found = difference().unwrap();
    assert!(found.starts_with("`lib/l.a`: `x.o` differs from its byte "), "{found}");
    fs_err::copy(a.path("lib/l.a"), b.path("lib/l.a")).unwrap();
    assert_eq!(difference(), None);
}
