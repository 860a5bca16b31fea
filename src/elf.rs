//! What a file is to a linker: an executable, a library, an object, a kernel module, an archive of objects.
//! Reads headers and tables with positioned reads, never whole files, and trusts none of their numbers.
//! Doesn't know what is done with the answer, nor anything of deploy folders.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::{FileExt, OpenOptionsExt};
use goblin::container::{Container, Ctx};
use goblin::elf::dynamic::{self, Dyn, Dynamic};
use goblin::elf::header::{self, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};
use goblin::elf::section_header::{SHN_XINDEX, SHT_NOBITS, SHT_SYMTAB, SectionHeader};

use crate::error::{Error, Kind as Fault, Result};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A program, position independent or not.
    Executable,
    /// A shared library or a plug-in.
    SharedObject,
    /// An object file (`crt1.o`).
    Relocatable,
    /// A Linux kernel module: an object file with `.modinfo` or `.gnu.linkonce.this_module`.
    KernelModule,
    /// An `ar` archive that holds its members (a thin archive only names them and counts as `NotElf`).
    StaticArchive,
    /// A memory image of a dead process.
    Core,
    /// Anything else.
    NotElf,
}

/// For which processor a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine {
    /// `e_machine`, one of goblin's `EM_` constants.
    pub id: u16,
    /// Class 64, else 32.
    pub wide: bool,
    /// Least significant byte first.
    pub little: bool,
}

/// What `classify` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// What it is.
    pub kind: Kind,
    /// For which processor; of an archive that of its first ELF member. `None` where there is none.
    pub machine: Option<Machine>,
    /// Whether `strip` would find nothing to do: no `.symtab` and no debugging sections in what can be run;
    /// no debugging sections in objects; for an archive also no times and owners in its members' headers.
    pub stripped: bool,
    /// Whether a kernel module carries an appended signature, which any change would break.
    pub signed: bool,
    /// Why a file that begins like ELF or an archive is none (`kind` is `NotElf` then).
    pub broken: Option<String>,
}

impl Elf {
    fn plain(kind: Kind) -> Elf {
        Elf { kind, machine: None, stripped: true, signed: false, broken: None }
    }
}

/// What a program or library needs of others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linkage {
    /// `DT_NEEDED`, in the order of the file.
    pub needed: Vec<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_RPATH`, as written (colons not split).
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, as written.
    pub runpath: Option<String>,
    /// `PT_INTERP`: path of the dynamic loader.
    pub interpreter: Option<String>,
}

/// A named piece of a file: a section of an ELF file or a member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Section or member name.
    pub name: String,
    /// First byte in the file.
    pub offset: u64,
    /// Bytes in the file (0 for `.bss`).
    pub size: u64,
}

/// An ELF file or archive that `find` met.
#[derive(Debug, Clone)]
pub struct Found {
    /// Path below the folder that was searched.
    pub path: PathBuf,
    /// What it is.
    pub elf: Elf,
    /// Permission bits (`0o7777`).
    pub mode: u32,
}

/// Tables larger than this are nonsense, or an attack on memory.
const MOST: u64 = 64 << 20;
/// As many entries name at most so many strings; the largest real ones have some hundreds.
const MOST_DYNAMIC: u64 = 256 << 10;
/// Longest string worth reading from a string table.
const LONGEST: u64 = 4096;
const ARCHIVE: &[u8] = b"!<arch>\n";
const SIGNATURE: &[u8] = b"~Module signature appended~\n";

/// Why a look into a file ended early.
enum Stop {
    Io(io::Error),
    Broken(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

impl From<goblin::error::Error> for Stop {
    fn from(error: goblin::error::Error) -> Stop {
        Stop::Broken(error.to_string())
    }
}

/// The result of a look at a file's tables.
type Look<T> = std::result::Result<T, Stop>;

/// Says what the file at `path` is. Links are not followed: they, and folders, are `NotElf`.
///
/// A truncated or contradictory file is `NotElf` with a reason. Fails when it cannot be read.
pub fn classify(path: &Path) -> Result<Elf> {
    if !fs_err::symlink_metadata(path)?.is_file() {
        return Ok(Elf::plain(Kind::NotElf));
    }
    let file = open(path)?;
    let mut magic = [0; 64];
    let got = read_some(&file, &mut magic)?;
    Ok(classify_open(&file, &magic[..got])?)
}

/// Reads what the file at `path` needs of others; empty for anything that isn't linked dynamically.
///
/// Fails, naming the file, when its tables contradict each other.
pub fn linkage(path: &Path) -> Result<Linkage> {
    let file = open(path)?;
    let look = || -> Look<Linkage> {
        let view = View::whole(&file)?;
        match view.header()? {
            Some(image) => image.linkage(),
            None => Ok(Linkage::default()),
        }
    };
    named(path, look())
}

/// The sections of an ELF file or the members of an archive, in the order of its table; empty for other
/// files.
///
/// Fails, naming the file, when its tables contradict each other.
pub fn regions(path: &Path) -> Result<Vec<Region>> {
    let file = open(path)?;
    let look = || -> Look<Vec<Region>> {
        let view = View::whole(&file)?;
        if view.is_archive()? {
            let mut regions = Vec::new();
            view.members(|member| {
                regions.push(Region {
                    name: member.name.clone(),
                    offset: member.view.base,
                    size: member.view.size,
                });
                Ok(true)
            })?;
            return Ok(regions);
        }
        let Some(image) = view.header()? else { return Ok(Vec::new()) };
        let sections = image.sections()?;
        let region = |(name, section): (&[u8], &SectionHeader)| Region {
            name: String::from_utf8_lossy(name).into_owned(),
            offset: section.sh_offset,
            size: if section.sh_type == SHT_NOBITS { 0 } else { section.sh_size },
        };
        Ok(sections.iter().map(region).collect())
    };
    named(path, look())
}

/// Finds all ELF files and archives at `root/top` and below, sorted by path; files with a `skip`ped path
/// aren't opened.
///
/// Links are not followed, and of the names of one hard-linked file the first is given.
/// A `root/top` that is missing or no folder yields nothing.
pub fn find(root: &Path, top: &str, skip: impl Fn(&Path) -> bool) -> Result<Vec<Found>> {
    let start = root.join(top);
    if !start.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        return Ok(Vec::new());
    }
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let walk = walkdir::WalkDir::new(&start).follow_root_links(false).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|e| !e.path().strip_prefix(root).is_ok_and(&skip)) {
        let entry = entry.map_err(io::Error::from)?;
        if !entry.file_type().is_file() {
            continue;
        }
        let file = open(entry.path())?;
        let mut magic = [0; 64];
        let got = read_some(&file, &mut magic)?;
        if !is_interesting(&magic[..got]) {
            continue;
        }
        let meta = file.metadata()?;
        if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        let elf = classify_open(&file, &magic[..got])?;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
        found.push(Found { path, elf, mode: meta.mode() & 0o7777 });
    }
    found.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(found)
}

fn named<T>(path: &Path, result: Look<T>) -> Result<T> {
    result.map_err(|stop| match stop {
        Stop::Io(error) => error.into(),
        Stop::Broken(why) => {
            Error::new(Fault::Build, format!("`{}` is a broken ELF file: {why}", path.display()))
        }
    })
}

/// Opens without following a link and without waiting for a pipe's other end.
fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Reads at the beginning of a regular file: less than asked for means that there is no more.
fn read_some(file: &fs_err::File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, 0) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn is_interesting(magic: &[u8]) -> bool {
    magic.starts_with(header::ELFMAG) || magic.starts_with(ARCHIVE)
}

fn classify_open(file: &fs_err::File, magic: &[u8]) -> io::Result<Elf> {
    if !is_interesting(magic) {
        return Ok(Elf::plain(Kind::NotElf));
    }
    let view = View::whole(file)?;
    let answer = if magic.starts_with(ARCHIVE) {
        view.classify_archive()
    } else {
        Image::new(view, magic).and_then(|image| image.classify())
    };
    match answer {
        Ok(elf) => Ok(elf),
        Err(Stop::Io(error)) => Err(error),
        Err(Stop::Broken(why)) => Ok(Elf { broken: Some(why), ..Elf::plain(Kind::NotElf) }),
    }
}

/// A part of a file: all of it, or a member of an archive.
#[derive(Clone, Copy)]
struct View<'a> {
    file: &'a fs_err::File,
    base: u64,
    size: u64,
}

/// A member of an archive, with what its header says.
struct Member<'a> {
    name: String,
    /// Neither time nor owner is recorded.
    anonymous: bool,
    view: View<'a>,
}

impl<'a> View<'a> {
    fn whole(file: &'a fs_err::File) -> io::Result<View<'a>> {
        Ok(View { file, base: 0, size: file.metadata()?.len() })
    }

    /// The bytes at `offset`, all of which must be there.
    fn bytes(&self, what: &str, offset: u64, len: u64) -> Look<Vec<u8>> {
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(Stop::Broken(format!("its {what} lies beyond the end of the file")));
        }
        if len > MOST {
            return Err(Stop::Broken(format!("its {what} claims {len} bytes")));
        }
        let mut bytes = vec![0; len as usize];
        match self.file.read_exact_at(&mut bytes, self.base + offset) {
            Ok(()) => Ok(bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Stop::Broken(format!("its {what} lies beyond the end of the file")))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn is_archive(&self) -> Look<bool> {
        Ok(self.size >= 8 && self.bytes("magic", 0, 8)? == ARCHIVE)
    }

    /// The ELF image that begins here, if one does.
    fn header(self) -> Look<Option<Image<'a>>> {
        let magic = self.bytes("header", 0, self.size.min(64))?;
        if !magic.starts_with(header::ELFMAG) {
            return Ok(None);
        }
        Image::new(self, &magic).map(Some)
    }

    /// Calls `each` for every member but the symbol and name tables, until it says `false`.
    fn members(&self, mut each: impl FnMut(&Member<'a>) -> Look<bool>) -> Look<()> {
        let mut at = ARCHIVE.len() as u64;
        let mut long_names = Vec::new();
        // Some writers leave out the last member's padding byte, some add a line feed.
        while at + 60 <= self.size {
            let head = self.bytes("member header", at, 60)?;
            let field = |from: usize, to: usize| String::from_utf8_lossy(&head[from..to]).trim().to_owned();
            let size: u64 = field(48, 58).parse().unwrap_or(u64::MAX);
            if &head[58..] != b"`\n" || size > self.size - at - 60 {
                return Err(Stop::Broken(format!("no archive member at byte {at}")));
            }
            let view = View { file: self.file, base: self.base + at + 60, size };
            at += 60 + size + size % 2;
            let short = field(0, 16);
            if short == "//" {
                long_names = view.bytes("name table", 0, size)?;
                continue;
            }
            if matches!(short.as_str(), "/" | "/SYM64/" | "__.SYMDEF") {
                continue;
            }
            let long = short.strip_prefix('/').and_then(|n| n.parse().ok()).and_then(|n| long_names.get(n..));
            let name = match long {
                Some(rest) => {
                    String::from_utf8_lossy(rest.split(|&b| b == b'\n').next().unwrap_or(rest)).into()
                }
                None => short,
            };
            let zero = |text: String| text.is_empty() || text == "0";
            let anonymous = zero(field(16, 28)) && zero(field(28, 34)) && zero(field(34, 40));
            let name = name.trim_end_matches('/').to_owned();
            if !each(&Member { name, anonymous, view })? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn classify_archive(&self) -> Look<Elf> {
        let mut archive = Elf::plain(Kind::StaticArchive);
        let mut anonymous = true;
        self.members(|member| {
            anonymous &= member.anonymous;
            // A broken member is its maker's business; strip would leave it alone, too.
            let elf = match member.view.header() {
                Ok(Some(image)) => image.classify(),
                Ok(None) => return Ok(true),
                Err(stop) => Err(stop),
            };
            match elf {
                Ok(elf) => {
                    archive.machine = archive.machine.or(elf.machine);
                    archive.stripped &= elf.stripped && anonymous;
                }
                Err(Stop::Broken(_)) => {}
                Err(stop) => return Err(stop),
            }
            // The first member with something to strip settles it.
            Ok(archive.stripped)
        })?;
        archive.stripped &= anonymous || archive.machine.is_none();
        Ok(archive)
    }
}

/// An ELF header and where it was read.
struct Image<'a> {
    view: View<'a>,
    header: Header,
    ctx: Ctx,
}

/// Section headers and the table of their names.
struct Sections {
    headers: Vec<SectionHeader>,
    names: Vec<u8>,
}

impl Sections {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &SectionHeader)> {
        self.headers.iter().map(|section| (string_in(&self.names, section.sh_name), section))
    }

    fn any(&self, test: impl Fn(&[u8], &SectionHeader) -> bool) -> bool {
        self.iter().any(|(name, section)| test(name, section))
    }
}

/// The bytes at `at` up to the next NUL; empty beyond the table's end.
fn string_in(table: &[u8], at: usize) -> &[u8] {
    table.get(at..).and_then(|rest| rest.split(|&b| b == 0).next()).unwrap_or_default()
}

fn is_debugging(name: &[u8]) -> bool {
    [&b".debug_"[..], b".zdebug_", b".stab"].iter().any(|prefix| name.starts_with(prefix)) || name == b".line"
}

impl<'a> Image<'a> {
    fn new(view: View<'a>, magic: &[u8]) -> Look<Image<'a>> {
        // Of the class-32 header's 52 bytes goblin checks each access.
        let header = goblin::elf::Elf::parse_header(magic)
            .map_err(|_| Stop::Broken("its header is cut off".into()))?;
        let ctx = Ctx::new(header.container()?, header.endianness()?);
        Ok(Image { view, header, ctx })
    }

    fn machine(&self) -> Machine {
        Machine {
            id: self.header.e_machine,
            wide: self.ctx.container == Container::Big,
            little: self.ctx.is_little_endian(),
        }
    }

    fn classify(&self) -> Look<Elf> {
        let sections = self.sections()?;
        let has = |wanted: &[u8]| sections.any(|name, _| name == wanted);
        let mut signed = false;
        let kind = match self.header.e_type {
            header::ET_EXEC => Kind::Executable,
            header::ET_DYN if self.is_program()? => Kind::Executable,
            header::ET_DYN => Kind::SharedObject,
            header::ET_REL if has(b".modinfo") || has(b".gnu.linkonce.this_module") => {
                let tail = (SIGNATURE.len() as u64).min(self.view.size);
                signed = self.view.bytes("end", self.view.size - tail, tail)? == SIGNATURE;
                Kind::KernelModule
            }
            header::ET_REL => Kind::Relocatable,
            header::ET_CORE => Kind::Core,
            other => return Err(Stop::Broken(format!("its type {other} means nothing"))),
        };
        let runs = matches!(kind, Kind::Executable | Kind::SharedObject);
        let stripped =
            !sections.any(|name, section| is_debugging(name) || runs && section.sh_type == SHT_SYMTAB);
        Ok(Elf { kind, machine: Some(self.machine()), stripped, signed, broken: None })
    }

    fn sections(&self) -> Look<Sections> {
        let table = self.header.e_shoff;
        if table == 0 {
            return Ok(Sections { headers: Vec::new(), names: Vec::new() });
        }
        let size = SectionHeader::size(self.ctx) as u64;
        if u64::from(self.header.e_shentsize) != size {
            return Err(Stop::Broken(format!(
                "its section headers have {} bytes each",
                self.header.e_shentsize
            )));
        }
        let parse = |bytes: Vec<u8>, count| SectionHeader::parse_from(&bytes, 0, count, self.ctx);
        // More than 65,279 sections are counted in the first one's size.
        let mut count = u64::from(self.header.e_shnum);
        if count == 0 {
            count = parse(self.view.bytes("section table", table, size)?, 1)?[0].sh_size;
        }
        if count == 0 {
            return Ok(Sections { headers: Vec::new(), names: Vec::new() });
        }
        let bytes = self.view.bytes("section table", table, count.saturating_mul(size))?;
        let headers = parse(bytes, count as usize)?;
        let index = match u32::from(self.header.e_shstrndx) {
            SHN_XINDEX => headers[0].sh_link as usize,
            index => index as usize,
        };
        let names = match headers.get(index) {
            Some(s) if index != 0 => self.view.bytes("table of section names", s.sh_offset, s.sh_size)?,
            Some(_) => Vec::new(),
            None => return Err(Stop::Broken(format!("its section {index} of names does not exist"))),
        };
        Ok(Sections { headers, names })
    }

    fn segments(&self) -> Look<Vec<ProgramHeader>> {
        let count = u64::from(self.header.e_phnum);
        let size = ProgramHeader::size(self.ctx) as u64;
        if count == 0 {
            return Ok(Vec::new());
        }
        if u64::from(self.header.e_phentsize) != size {
            return Err(Stop::Broken(format!(
                "its program headers have {} bytes each",
                self.header.e_phentsize
            )));
        }
        let bytes = self.view.bytes("program header table", self.header.e_phoff, count * size)?;
        Ok(ProgramHeader::parse(&bytes, 0, count as usize, self.ctx)?)
    }

    fn dynamic(&self, segments: &[ProgramHeader]) -> Look<Vec<Dyn>> {
        let Some(segment) = segments.iter().find(|s| s.p_type == PT_DYNAMIC && s.p_filesz > 0) else {
            return Ok(Vec::new());
        };
        if segment.p_filesz > MOST_DYNAMIC {
            return Err(Stop::Broken(format!("its dynamic section claims {} bytes", segment.p_filesz)));
        }
        let bytes = self.view.bytes("dynamic section", segment.p_offset, segment.p_filesz)?;
        let here = ProgramHeader { p_offset: 0, ..segment.clone() };
        Ok(Dynamic::parse(&bytes, &[here], self.ctx)?.map(|d| d.dyns).unwrap_or_default())
    }

    /// Tells a position independent executable from a library: it says so, or it names a loader
    /// without having a library's name (glibc's `libc.so.6` has both).
    fn is_program(&self) -> Look<bool> {
        let segments = self.segments()?;
        let entries = self.dynamic(&segments)?;
        let pie = entries.iter().any(|d| d.d_tag == dynamic::DT_FLAGS_1 && d.d_val & dynamic::DF_1_PIE != 0);
        let library = entries.iter().any(|d| d.d_tag == dynamic::DT_SONAME);
        Ok(pie || !library && segments.iter().any(|s| s.p_type == PT_INTERP))
    }

    fn linkage(&self) -> Look<Linkage> {
        let segments = self.segments()?;
        let mut linkage = Linkage::default();
        if let Some(s) = segments.iter().find(|s| s.p_type == PT_INTERP) {
            let bytes = self.view.bytes("interpreter", s.p_offset, s.p_filesz.min(LONGEST))?;
            linkage.interpreter = Some(String::from_utf8_lossy(string_in(&bytes, 0)).into_owned());
        }
        let entries = self.dynamic(&segments)?;
        let value = |tag| entries.iter().find(|d| d.d_tag == tag).map(|d| d.d_val);
        let Some(address) = value(dynamic::DT_STRTAB) else { return Ok(linkage) };
        let table = segments
            .iter()
            .filter(|s| s.p_type == PT_LOAD)
            .find_map(|s| match address.checked_sub(s.p_vaddr) {
                Some(inside) if inside < s.p_filesz => s.p_offset.checked_add(inside),
                _ => None,
            })
            .ok_or_else(|| Stop::Broken("its dynamic strings lie in no segment".into()))?;
        let size = value(dynamic::DT_STRSZ).unwrap_or(0);
        let string = |at: u64| -> Look<String> {
            let left =
                size.checked_sub(at).ok_or_else(|| Stop::Broken(format!("no dynamic string at {at}")))?;
            let from = table.saturating_add(at);
            let bytes = self.view.bytes("dynamic string", from, left.min(LONGEST))?;
            Ok(String::from_utf8_lossy(string_in(&bytes, 0)).into_owned())
        };
        for entry in &entries {
            match entry.d_tag {
                dynamic::DT_NEEDED => linkage.needed.push(string(entry.d_val)?),
                dynamic::DT_SONAME => linkage.soname = Some(string(entry.d_val)?),
                dynamic::DT_RPATH => linkage.rpath = Some(string(entry.d_val)?),
                dynamic::DT_RUNPATH => linkage.runpath = Some(string(entry.d_val)?),
                _ => {}
            }
        }
        Ok(linkage)
    }
}

impl fmt::Display for Machine {
    /// `aarch64`, `mips (32 bit, big endian)`: the word of the triplet where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.little { "little" } else { "big" };
        let bits = if self.wide { 64 } else { 32 };
        match (self.id, self.wide, self.little) {
            (header::EM_X86_64, true, true) => f.write_str("x86_64"),
            (header::EM_386, false, true) => f.write_str("i386"),
            (header::EM_AARCH64, true, true) => f.write_str("aarch64"),
            (header::EM_ARM, false, true) => f.write_str("arm"),
            (header::EM_RISCV, wide, true) => f.write_str(if wide { "riscv64" } else { "riscv32" }),
            (header::EM_PPC64, true, little) => f.write_str(if little { "powerpc64le" } else { "powerpc64" }),
            (header::EM_PPC, false, false) => f.write_str("powerpc"),
            (id, ..) => match header::machine_to_str(id) {
                word if word.starts_with("UNKNOWN") => write!(f, "machine {id} ({bits} bit, {order} endian)"),
                word => write!(f, "{} ({bits} bit, {order} endian)", word.to_lowercase()),
            },
        }
    }
}
