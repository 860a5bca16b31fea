//! Which files of a deploy folder are stripped, and how, as a plan: lists of options and files for
//! `<TCDIR>/bin/<TARGET>-strip`, run by the caller. Knows `elf`; knows no process and no room.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use goblin::elf::header;

use crate::elf::{self, Found, Kind, Machine};
use crate::error::{Error, Kind as Fault, Result};

/// The folders in which ELF files are stripped; `bin` and `lib`, also below `usr`.
const TOPS: [&str; 4] = ["bin", "lib", "usr/bin", "usr/lib"];
/// Programs for other processors, loaded by drivers: data to us.
const FIRMWARE: [&str; 2] = ["lib/firmware", "usr/lib/firmware"];
/// Bytes of file names in one call. Linux takes 2 MiB of arguments and environment unless the stack is
/// limited.
const CALL_BYTES: usize = 96 * 1024;

/// One call of strip, in the deploy folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Comes before the files.
    pub options: Vec<&'static str>,
    /// Relative to the deploy folder, sorted; none begins with `-`.
    pub files: Vec<PathBuf>,
}

/// What there is to strip in a deploy folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The calls, none of them empty, in a fixed order.
    pub calls: Vec<Call>,
    /// Files that begin like ELF or an archive but are broken, with the reason; they are left alone.
    pub broken: Vec<(PathBuf, String)>,
    /// Modes that strip would stumble over or lose: files and folders that their owner may not write, and
    /// setuid files.
    modes: Vec<(PathBuf, u32)>,
}

/// Looks through `bin` and `lib` of the deploy folder and says what is to be stripped for triplet `target`.
///
/// Left alone are links, further names of a hard-linked file (strip writes into the file, so all names see
/// it), scripts, already stripped files, signed kernel modules, thin archives, core files, and firmware. A
/// file for another machine than `target` is an error, unless `target` is a triplet of a processor unknown
/// here.
pub fn plan(deploy: &Path, target: &str) -> Result<Plan> {
    let expected = Expected::of(target);
    let mut plan = Plan::default();
    let mut groups: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for found in look(deploy)? {
        if let Some(why) = found.elf.broken {
            plan.broken.push((found.path, why));
            continue;
        }
        let machine = found.elf.machine.filter(|m| ![header::EM_NONE, header::EM_BPF].contains(&m.id));
        let Some(machine) = machine else { continue };
        if expected.as_ref().is_some_and(|e| !e.takes(machine)) {
            wrong.push((found.path, machine));
            continue;
        }
        let group = match found.elf.kind {
            Kind::Executable => 0,
            Kind::SharedObject => 1,
            Kind::Relocatable | Kind::KernelModule | Kind::StaticArchive => 2,
            Kind::Core | Kind::NotElf => continue,
        };
        if found.elf.stripped || found.elf.signed {
            continue;
        }
        plan.remember_modes(deploy, &found.path, found.mode)?;
        groups.entry(group).or_default().push(found.path);
    }
    if let Some((path, machine)) = wrong.first() {
        return Err(wrong_machine(target, path, *machine, &wrong));
    }
    for (group, files) in groups {
        let options: &[_] = match group {
            0 => &["--strip-all"],
            1 => &["--strip-unneeded"],
            _ => &["--strip-debug", "--enable-deterministic-archives"],
        };
        plan.calls.extend(batches(files).map(|files| Call { options: options.to_vec(), files }));
    }
    Ok(plan)
}

impl Plan {
    /// Lets strip write: adds the owner's write permission where it is missing. To be called before the calls
    /// are run.
    pub fn unlock(&self, deploy: &Path) -> Result<()> {
        self.modes.iter().try_for_each(|(path, mode)| set_mode(&deploy.join(path), mode | 0o200))
    }

    /// Gives every file and folder the mode that it had when the plan was made. To be called after, also
    /// after a failure.
    pub fn relock(&self, deploy: &Path) -> Result<()> {
        self.modes.iter().try_for_each(|(path, mode)| set_mode(&deploy.join(path), *mode))
    }

    fn remember_modes(&mut self, deploy: &Path, path: &Path, mode: u32) -> Result<()> {
        // Writing into a setuid file takes the bit away; strip makes its temporary file in the same folder.
        if mode & 0o200 == 0 || mode & 0o6000 != 0 {
            self.modes.push((path.to_owned(), mode));
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        if self.modes.iter().all(|(known, _)| known != folder) {
            let mode = fs_err::metadata(deploy.join(folder))?.permissions().mode() & 0o7777;
            if mode & 0o200 == 0 {
                self.modes.push((folder.to_owned(), mode));
            }
        }
        Ok(())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))?)
}

fn look(deploy: &Path) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for top in TOPS {
        // `usr` may be a link to anywhere.
        let inside = Path::new(top).parent().is_none_or(|above| !deploy.join(above).is_symlink());
        if inside {
            all.extend(elf::find(deploy, top, |path| FIRMWARE.iter().any(|f| path == Path::new(f)))?);
        }
    }
    Ok(all)
}

/// Splits the sorted files into as few calls as the length of a command line allows.
fn batches(files: Vec<PathBuf>) -> impl Iterator<Item = Vec<PathBuf>> {
    let mut files = files.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(file) = files.next_if(|f| bytes == 0 || bytes + f.as_os_str().len() < CALL_BYTES) {
            bytes += file.as_os_str().len() + 9; // its NUL and its pointer
            batch.push(file);
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Whether triplet `target` is for another processor than `machine`; not where that cannot be told.
pub fn is_foreign(target: &str, machine: Machine) -> bool {
    ![header::EM_NONE, header::EM_BPF].contains(&machine.id)
        && Expected::of(target).is_some_and(|e| !e.takes(machine))
}

fn wrong_machine(target: &str, path: &Path, machine: Machine, wrong: &[(PathBuf, Machine)]) -> Error {
    let cpu = target.split('-').next().unwrap_or_default();
    let mut error = Error::new(
        Fault::Build,
        format!("`{}` is for {machine}, but TARGET `{target}` needs {cpu}", path.display()),
    );
    for (path, machine) in wrong.iter().skip(1).take(9) {
        error = error.at(format!("also {}: {machine}", path.display()));
    }
    if wrong.len() > 10 {
        error = error.at(format!("and {} more", wrong.len() - 10));
    }
    error
        .hint("the recipe must compile with the cross compiler, `<TARGET>-gcc`")
        .hint("a program that runs on the build machine belongs into TCDIR, not into the deploy folder")
}

/// The machine that a triplet asks for; `None` leaves a property open.
struct Expected {
    id: u16,
    wide: Option<bool>,
    little: Option<bool>,
}

impl Expected {
    fn of(target: &str) -> Option<Expected> {
        let cpu = target.split('-').next().unwrap_or_default();
        let expected = |id, wide, little| Some(Expected { id, wide, little });
        let i86 = cpu.len() == 4 && cpu.starts_with('i') && cpu.ends_with("86");
        if cpu == "x86_64" {
            // x32 is a 32-bit class of its own.
            expected(header::EM_X86_64, Some(!target.ends_with("x32")), Some(true))
        } else if i86 {
            expected(header::EM_386, Some(false), Some(true))
        } else if cpu.starts_with("aarch64") || cpu.starts_with("arm64") {
            expected(header::EM_AARCH64, Some(!target.ends_with("_ilp32")), Some(!cpu.contains("_be")))
        } else if cpu.starts_with("arm") {
            expected(header::EM_ARM, Some(false), Some(!(cpu.starts_with("armeb") || cpu.ends_with('b'))))
        } else if cpu.starts_with("mips") {
            // 64-bit triplets also stand for the n32 ABI, whose class is 32.
            let wide = if cpu.contains("64") { None } else { Some(false) };
            expected(header::EM_MIPS, wide, Some(cpu.ends_with("el")))
        } else if cpu.starts_with("riscv") {
            expected(header::EM_RISCV, Some(cpu.starts_with("riscv64")), Some(true))
        } else if cpu.starts_with("powerpc64") || cpu.starts_with("ppc64") {
            expected(header::EM_PPC64, Some(true), Some(cpu.ends_with("le")))
        } else if cpu.starts_with("powerpc") || cpu.starts_with("ppc") {
            expected(header::EM_PPC, Some(false), Some(cpu.ends_with("le")))
        } else {
            None
        }
    }

    fn takes(&self, machine: Machine) -> bool {
        self.id == machine.id
            && self.wide.is_none_or(|wide| wide == machine.wide)
            && self.little.is_none_or(|little| little == machine.little)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triplet_takes_its_own_machine_and_no_other() {
        let machine = |id, wide, little| Machine { id, wide, little };
        for (target, right) in [
            ("x86_64-linux-musl", machine(header::EM_X86_64, true, true)),
            ("x86_64-linux-gnux32", machine(header::EM_X86_64, false, true)),
            ("i686-linux-musl", machine(header::EM_386, false, true)),
            ("aarch64-linux-musl", machine(header::EM_AARCH64, true, true)),
            ("aarch64_be-linux-gnu", machine(header::EM_AARCH64, true, false)),
            ("armv7l-linux-musleabihf", machine(header::EM_ARM, false, true)),
            ("armeb-linux-gnueabi", machine(header::EM_ARM, false, false)),
            ("mips-linux-musl", machine(header::EM_MIPS, false, false)),
            ("mipsel-linux-musl", machine(header::EM_MIPS, false, true)),
            ("mips64el-linux-gnuabi64", machine(header::EM_MIPS, true, true)),
            ("riscv32-linux-musl", machine(header::EM_RISCV, false, true)),
            ("riscv64-linux-musl", machine(header::EM_RISCV, true, true)),
            ("powerpc-linux-musl", machine(header::EM_PPC, false, false)),
            ("powerpc64le-linux-musl", machine(header::EM_PPC64, true, true)),
        ] {
            let expected = Expected::of(target).unwrap();
            assert!(expected.takes(right), "{target}");
            assert!(!expected.takes(machine(header::EM_SPARC, right.wide, right.little)), "{target}");
            assert!(!expected.takes(Machine { little: !right.little, ..right }), "{target}");
        }
        assert!(Expected::of("z80-unknown-none").is_none());
    }

    #[test]
    fn thousands_of_files_make_few_calls_and_each_fits_a_command_line() {
        let files: Vec<PathBuf> = (0..5000).map(|n| format!("lib/{n:0>95}").into()).collect();
        let calls: Vec<_> = batches(files.clone()).collect();
        assert_eq!(calls.concat(), files);
        assert_eq!(calls.len(), 6);
        let longest = vec![PathBuf::from("x".repeat(CALL_BYTES + 1)), PathBuf::from("y")];
        assert_eq!(batches(longest).count(), 2);
    }
}
