//! Unpacking: archives made by the usual tools, and hostile ones made by hand.

// Helpers are no tests in clippy's eyes.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mk::error::{Kind, Result};
use mk::unpack::{Limits, Unpacked, check_srcdir, unpack};

/// A temporary folder with the archive and `into`, where it goes.
struct Case {
    temporary: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        let case = Case { temporary: tempfile::tempdir().unwrap() };
        fs_err::create_dir(case.target()).unwrap();
        case
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn target(&self) -> PathBuf {
        self.at("into")
    }

    /// Runs a command line of the shell in the temporary folder.
    fn sh(&self, line: &str) {
        let command = duct::cmd!("sh", "-ec", line).dir(self.temporary.path()).env("TZ", "UTC");
        command.stdout_null().run().unwrap_or_else(|e| panic!("{line}: {e}"));
    }

    /// A source folder `pkg-1` with what sources have.
    fn with_source() -> Case {
        let case = Case::new();
        let long = "a-long-name/".repeat(20);
        fs_err::create_dir_all(case.at("pkg-1").join(&long)).unwrap();
        fs_err::write(case.at("pkg-1/README"), "read me").unwrap();
        fs_err::write(case.at("pkg-1/empty"), "").unwrap();
        fs_err::write(case.at("pkg-1").join(&long).join("deep"), "deep").unwrap();
        let noise: Vec<u8> = (0..50_000u32).flat_map(|n| mk::digest::Digest::of(n.to_le_bytes()).0).collect();
        fs_err::write(case.at("pkg-1/noise"), noise).unwrap();
        fs_err::write(case.at("pkg-1/configure"), "#!/bin/sh").unwrap();
        fs_err::write(case.at("pkg-1/späß"), "spaß").unwrap();
        symlink("README", case.at("pkg-1/link")).unwrap();
        symlink("../README", case.at("pkg-1/a-long-name/up")).unwrap();
        case.sh("chmod -R u=rwX,go=rX pkg-1; chmod 755 pkg-1/configure; chmod 444 pkg-1/empty");
        case.sh("find pkg-1 -exec touch -h -d @1234567890 {} +");
        case
    }

    fn unpack(&self, archive: &str) -> Result<Unpacked> {
        unpack(&self.at(archive), &self.target(), Limits::default())
    }

    /// Unpacks a tar archive that was made by hand.
    fn unpack_bytes(&self, bytes: &[u8]) -> Result<Unpacked> {
        fs_err::write(self.at("hand.tar"), bytes).unwrap();
        self.unpack("hand.tar")
    }

    fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.target().join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs_err::metadata(self.target().join(name)).unwrap().permissions().mode() & 0o7777
    }
}

/// Every name below a folder with its kind, mode, time, and content or target.
fn listing(folder: &Path) -> Vec<String> {
    let mut lines: Vec<String> = walkdir::WalkDir::new(folder)
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let (meta, path) = (entry.metadata().unwrap(), entry.path());
            let content = match path.read_link() {
                Ok(target) => target.display().to_string(),
                Err(_) if meta.is_dir() => String::new(),
                Err(_) => mk::digest::Digest::of_file(path).unwrap().to_string(),
            };
            let name = path.strip_prefix(folder).unwrap().display();
            format!("{name} {:o} {} {content}", meta.mode(), meta.mtime())
        })
        .collect();
    lines.sort();
    lines
}

/// An entry of a tar archive: header, content, padding.
fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    entry_with(name, kind, link, content, 0o644, b"ustar\x0000")
}

fn entry_with(name: &str, kind: u8, link: &str, content: &[u8], mode: u32, magic: &[u8; 8]) -> Vec<u8> {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(124, format!("{:011o}", content.len()).as_bytes());
    put(136, b"00000000144");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, magic);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [&header[..], content, &padding].concat()
}

/// A record of an extended header.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let length =
        (1..4).map(|digits| rest.len() + digits).find(|n| n.to_string().len() + rest.len() == *n).unwrap();
    [length.to_string().as_bytes(), &rest].concat()
}

fn end() -> Vec<u8> {
    vec![0; 1024]
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name, b'0', "", content.as_bytes())
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(name, b'2', target, b"")
}

#[test]
fn every_format_gives_what_was_packed() {
    for (name, pack) in [
        ("x.tar", "tar -cf x.tar pkg-1"),
        ("x.tar.gz", "tar -czf x.tar.gz pkg-1"),
        ("x.tar.bz2", "tar -cjf x.tar.bz2 pkg-1"),
        ("x.tar.xz", "tar -cf - pkg-1 | xz -T2 --block-size=300KiB > x.tar.xz"),
        ("x.tar.zst", "tar -cf - pkg-1 | zstd -q --long=27 > x.tar.zst"),
        ("x.tar.lz", "tar -cf - pkg-1 | lzip > x.tar.lz"),
        ("x.zip", "zip -qry x.zip pkg-1"),
    ] {
        let case = Case::with_source();
        case.sh(pack);
        let unpacked = case.unpack(name).unwrap();
        assert_eq!((unpacked.tops, unpacked.files), (vec!["pkg-1".to_owned()], 8), "{name}");
        assert_eq!(unpacked.bytes, 1_600_000 + 7 + 4 + 9 + "spaß".len() as u64, "{name}");
        case.sh("mkdir packed; mv pkg-1 packed");
        assert_eq!(listing(&case.target()), listing(&case.at("packed")), "{name}");
    }
}

#[test]
fn every_dialect_of_tar_gives_what_was_packed() {
    for format in ["gnu", "pax", "oldgnu", "ustar --exclude=deep", "v7 --exclude=a-long-name --exclude=späß"]
    {
        let case = Case::with_source();
        case.sh(&format!("tar --format={format} -cf x.tar pkg-1; mkdir packed; tar -C packed -xf x.tar"));
        case.unpack("x.tar").unwrap();
        assert_eq!(listing(&case.target()), listing(&case.at("packed")), "{format}");
    }
}

#[test]
fn sparse_files_keep_their_holes_and_content() {
    for options in ["gnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax --sparse-version=1.0"]
    {
        let case = Case::new();
        case.sh("truncate -s 10M sparse; for at in 1 3 5 7 9 11 13; do
             printf data | dd of=sparse bs=4k seek=$((at * 100)) conv=notrunc status=none; done");
        case.sh(&format!("echo next > next; tar --format={options} --sparse -cf x.tar sparse next"));
        let unpacked = case.unpack("x.tar").unwrap();
        assert_eq!(unpacked.bytes, (10 << 20) + 5, "{options}");
        case.sh("cmp sparse into/sparse; cmp next into/next");
        let meta = fs_err::metadata(case.target().join("sparse")).unwrap();
        assert!(meta.blocks() * 512 < 1 << 20, "{options}: {} blocks", meta.blocks());
    }
}

#[test]
fn hard_links_stay_one_file() {
    let case = Case::new();
    case.sh("mkdir d; echo one > d/a; ln d/a d/b; tar -cf x.tar d");
    assert_eq!(case.unpack("x.tar").unwrap().files, 2);
    let inode = |name| fs_err::metadata(case.target().join(name)).unwrap().ino();
    assert_eq!(inode("d/a"), inode("d/b"));
}

#[test]
fn the_format_is_known_by_content() {
    let case = Case::with_source();
    case.sh("tar -cJf x.tar.gz pkg-1");
    case.unpack("x.tar.gz").unwrap();
}

#[test]
fn archives_of_several_members_are_read_to_the_end() {
    for (name, tool) in [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd -q"), ("lz", "lzip")] {
        let case = Case::with_source();
        case.sh(&format!(
            "tar -cf x.tar pkg-1; head -c 700000 x.tar | {tool} > x.{name}; tail -c +700001 x.tar | {tool} >> x.{name}"
        ));
        case.unpack(&format!("x.{name}")).unwrap();
        case.sh("cmp pkg-1/noise into/pkg-1/noise");
    }
}

#[test]
fn what_follows_the_end_is_left_alone() {
    for tool in ["cat", "gzip", "bzip2", "xz", "zstd -q", "lzip"] {
        let case = Case::with_source();
        case.sh(&format!("tar -c pkg-1 | {tool} > x; echo a signature >> x"));
        case.unpack("x").unwrap_or_else(|e| panic!("{tool}: {e}"));
    }
}

#[test]
fn an_archive_that_ends_too_early_is_told() {
    for tool in ["cat", "gzip", "bzip2", "xz", "zstd -q", "lzip"] {
        let case = Case::with_source();
        case.sh(&format!("tar -c pkg-1 | {tool} > x; truncate -s 40% x 2>/dev/null || truncate -s 900000 x"));
        let error = case.unpack("x").unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (Kind::Fetch, "cannot unpack `x`: it is truncated"),
            "{tool}"
        );
        assert_eq!(error.at, [format!("archive: {}", case.at("x").display())]);
    }
    let case = Case::with_source();
    case.sh("zip -qr x.zip pkg-1; truncate -s 900000 x.zip");
    assert!(
        case.unpack("x.zip")
            .unwrap_err()
            .message
            .starts_with("cannot unpack `x.zip`: its zip data is damaged")
    );
}

#[test]
fn damaged_data_is_told() {
    for (tool, name) in
        [("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz"), ("zstd -q", "zstd"), ("lzip", "lzip")]
    {
        let case = Case::with_source();
        case.sh(&format!(
            "tar -c pkg-1 | {tool} > x; printf damaged | dd of=x bs=1 seek=500000 conv=notrunc status=none"
        ));
        let error = case.unpack("x").unwrap_err();
        assert!(
            error.message.starts_with(&format!("cannot unpack `x`: its {name} data is damaged (")),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_archive_is_told() {
    let case = Case::new();
    let message = |bytes: &[u8]| case.unpack_bytes(bytes).unwrap_err().message;
    assert_eq!(message(b"<!DOCTYPE html>"), "cannot unpack `hand.tar`: it is a web page, not an archive");
    assert_eq!(message(b"just text"), "cannot unpack `hand.tar`: it is no archive");
    assert_eq!(message(b""), "cannot unpack `hand.tar`: it is no archive");
    case.sh("echo text | gzip > x.gz");
    assert_eq!(
        case.unpack("x.gz").unwrap_err().message,
        "cannot unpack `x.gz`: its gzip data holds no tar archive"
    );
}

#[test]
fn an_archive_of_git_has_a_comment_that_is_no_file() {
    let case = Case::new();
    case.sh(
        "git init -q r; cd r; echo 1 > a; git add a; git -c user.name=a -c user.email=a@b.c commit -qm x",
    );
    case.sh("git -C r archive --prefix=r-1/ -o ../x.tar.gz HEAD");
    let unpacked = case.unpack("x.tar.gz").unwrap();
    assert_eq!((unpacked.tops, unpacked.files), (vec!["r-1".to_owned()], 1));
}

#[test]
fn modes_lose_what_others_may_write_and_set_id_bits_and_folders_stay_writable() {
    let case = Case::new();
    let magic = b"ustar\x0000";
    let archive = [
        entry_with("d", b'5', "", b"", 0o7000, magic),
        entry_with("d/tool", b'0', "", b"x", 0o6777, magic),
        entry_with("d/secret", b'0', "", b"x", 0, magic),
        entry_with("d/file", b'0', "", b"x", 0o666, magic),
        file("new/file", "x"),
        end(),
    ];
    case.unpack_bytes(&archive.concat()).unwrap();
    let modes = ["d", "d/tool", "d/secret", "d/file", "new"].map(|name| case.mode(name));
    assert_eq!(modes, [0o700, 0o755, 0o400, 0o644, 0o755]);
}

#[test]
fn entries_of_no_known_kind_are_left_out() {
    let case = Case::new();
    let archive = [
        entry("volume", b'V', "", b""),
        entry("strange", b'Z', "", b"some content"),
        file("file", "x"),
        end(),
    ];
    assert_eq!(case.unpack_bytes(&archive.concat()).unwrap().tops, ["file"]);
}

#[test]
fn extended_headers_may_hold_newlines() {
    let case = Case::new();
    let records =
        [record("SCHILY.xattr.user.x", b"a\n\nb\0=c"), record("path", b"right"), record("mtime", b"7.5")];
    let archive = [entry("x", b'x', "", &records.concat()), file("wrong", "x"), end()];
    case.unpack_bytes(&archive.concat()).unwrap();
    let meta = fs_err::metadata(case.target().join("right")).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (7, 500_000_000));
}

#[test]
fn a_later_entry_takes_the_place_of_an_earlier_one_and_not_of_what_it_links_to() {
    let case = Case::new();
    let archive = [
        file("a", "first"),
        entry("b", b'1', "a", b""),
        file("b", "second"),
        link("c", "a"),
        file("c", "third"),
    ];
    case.unpack_bytes(&[archive.concat(), end()].concat()).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| case.read(name)), ["first", "second", "third"]);
}

#[test]
fn a_link_that_was_replaced_leads_nowhere() {
    let case = Case::new();
    let archive = [link("out", "../x"), file("out", "harmless"), end()];
    case.unpack_bytes(&archive.concat()).unwrap();
}

#[test]
fn links_within_the_folder_are_kept_wherever_they_point() {
    let case = Case::new();
    let archive = [
        link("dangling", "nowhere/at/all"),
        link("d/up", "../other"),
        link("d/top", ".."),
        link("round", "round"),
        link("via", "d/top/d/../e"),
        end(),
    ];
    assert_eq!(case.unpack_bytes(&archive.concat()).unwrap().files, 5);
    assert_eq!(fs_err::read_link(case.target().join("d/top")).unwrap(), Path::new(".."));
}

#[test]
fn hostile_entries_are_refused_and_nothing_is_written_outside() {
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().to_str().unwrap();
    let absolute = format!("{outside}/evil");
    let nul = [entry("x", b'x', "", &record("path", b"a\0b")), file("x", "")].concat();
    let cases: Vec<(Vec<u8>, String)> = vec![
        (file("../evil", "x"), "entry `../evil` would leave the folder".into()),
        (file("a/../../evil", "x"), "entry `a/../../evil` would leave the folder".into()),
        (file(&absolute, "x"), format!("entry `{absolute}` would leave the folder")),
        (entry("..", b'5', "", b""), "entry `..` would leave the folder".into()),
        (link("a", outside), format!("entry `a` links to `{outside}`, outside the folder")),
        (link("d/a", "../../evil"), "entry `d/a` links to `../../evil`, outside the folder".into()),
        (entry("a", b'1', "../evil", b""), "entry `a` links to `../evil`, outside the folder".into()),
        (entry("a", b'1', "/etc/passwd", b""), "entry `a` links to `/etc/passwd`, outside the folder".into()),
        (entry("a", b'1', "b", b""), "entry `a` is a hard link to `b`, which is not there".into()),
        (
            [entry("d", b'5', "", b""), entry("a", b'1', "d", b"")].concat(),
            "entry `a` is a hard link to `d`, which is a folder".into(),
        ),
        (
            [link("a", "b"), file("a/evil", "x")].concat(),
            "entry `a/evil` goes through `a`, which is a link or a file".into(),
        ),
        (
            [link("a", "."), entry("a", b'5', "", b"")].concat(),
            "entry `a` goes through `a`, which is a link or a file".into(),
        ),
        (
            [file("a", ""), file("a/b", "x")].concat(),
            "entry `a/b` goes through `a`, which is a link or a file".into(),
        ),
        (
            [link("a", "b"), entry("c", b'1', "a/x", b"")].concat(),
            "entry `c` goes through `a`, which is a link or a file".into(),
        ),
        (
            [entry("d", b'5', "", b""), link("d", "x")].concat(),
            "entry `d` takes the place of a folder".into(),
        ),
        (
            [link("d/e/s", ".."), link("x", "d/e/s/../../evil")].concat(),
            "entry `x` links to `d/e/s/../../evil`, outside the folder".into(),
        ),
        (
            [link("d/e/s", "../../x"), entry("s", b'1', "d/e/s", b"")].concat(),
            "entry `s` links to `../../x`, outside the folder".into(),
        ),
        (entry("null", b'3', "", b""), "entry `null` is a device or a pipe".into()),
        (entry("disk", b'4', "", b""), "entry `disk` is a device or a pipe".into()),
        (entry("pipe", b'6', "", b""), "entry `pipe` is a device or a pipe".into()),
        (nul, "entry `a\\0b` has a name that no file can have".into()),
        (
            file(&"n".repeat(100), "").into_iter().chain(long_name(300)).collect(),
            format!("entry `{}` has a name that no file can have", "n".repeat(300)),
        ),
        (
            [entry("L", b'L', "", "d/".repeat(300).as_bytes()), file("x", "")].concat(),
            format!("entry `{}` lies deeper than 200 folders", "d/".repeat(300)),
        ),
        (link("a", ""), "entry `a` is a link whose target no link can have".into()),
        (file("", "x"), "entry `` is a file without a name".into()),
        (file("a\u{1b}[2J/../..", ""), "entry `a\\u{1b}[2J/../..` would leave the folder".into()),
    ];
    for (entries, reason) in cases {
        let case = Case::new();
        let error = case.unpack_bytes(&[entries, end()].concat()).unwrap_err();
        assert_eq!((error.kind, error.message), (Kind::Fetch, format!("cannot unpack `hand.tar`: {reason}")));
        let names: Vec<_> =
            fs_err::read_dir(case.temporary.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{reason}: {names:?}");
        assert_eq!(fs_err::read_dir(outside).unwrap().count(), 0, "{reason}");
    }
}

/// A file with a name of this length.
fn long_name(length: usize) -> Vec<u8> {
    [entry("L", b'L', "", "n".repeat(length).as_bytes()), file("x", "")].concat()
}

#[test]
fn headers_that_lie_are_told() {
    let magic = b"ustar\x0000";
    let mut wrong_sum = file("b", "x");
    wrong_sum[0] = b'c';
    let mut negative = file("b", "");
    negative[124..136].copy_from_slice(&[0xff; 12]);
    fix_sum(&mut negative);
    let mut huge = file("b", "");
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    fix_sum(&mut huge);
    let mut long = entry_with("x", b'x', "", b"", 0o644, magic);
    long[124..136].copy_from_slice(b"77777777777\0");
    fix_sum(&mut long);
    let sparse = [record("GNU.sparse.map", b"0,10,5,10"), record("GNU.sparse.size", b"100")].concat();
    let in_data =
        entry("x", b'x', "", &[record("GNU.sparse.major", b"1"), record("GNU.sparse.size", b"9")].concat());
    let beyond = [record("GNU.sparse.map", b"0,4096"), record("GNU.sparse.size", b"4096")].concat();
    for (entries, reason) in [
        (wrong_sum, "a header's checksum is wrong: the archive is damaged"),
        (negative, "a header's size is negative: the archive is damaged"),
        (huge, "it holds more than 68719476736 bytes"),
        (long, "an extended header is longer than 1 MiB: the archive is damaged"),
        (entry("x", b'x', "", b"9999 path=x\n"), "an extended header is wrong: the archive is damaged"),
        (
            [entry("x", b'x', "", &sparse), file("b", &"x".repeat(20))].concat(),
            "a sparse file's map is wrong: the archive is damaged",
        ),
        (
            [entry("x", b'x', "", &beyond), file("b", "x")].concat(),
            "a sparse file's map is wrong: the archive is damaged",
        ),
        // Maps that would be kept as long as they go on.
        (
            [in_data.clone(), file("b", "2\n\n\n\n\n")].concat(),
            "a sparse file's map is wrong: the archive is damaged",
        ),
        (
            [in_data, file("b", &format!("999999999999\n{}", "0\n".repeat(1 << 20)))].concat(),
            "a sparse file's map is longer than 1 MiB: the archive is damaged",
        ),
        (
            [entry("L", b'L', "", &[b'n'; 600 << 10]), long_name(600 << 10)].concat(),
            "an extended header is longer than 1 MiB: the archive is damaged",
        ),
    ] {
        let archive = [file("a", ""), entries, end()].concat();
        let error = Case::new().unpack_bytes(&archive).unwrap_err();
        assert_eq!(error.message, format!("cannot unpack `hand.tar`: {reason}"));
    }
}

fn fix_sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header[..512].iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn bombs_are_defused() {
    let case = Case::new();
    case.sh("truncate -s 20M zeros; tar -c zeros | xz > bytes.tar.xz; zip -q bytes.zip zeros");
    case.sh("truncate -s 900G hole; tar --sparse -cf hole.tar hole; mkdir d; touch d/1 d/2 d/3; tar -cf many.tar d");
    let message = |archive: &str, limits: Limits| {
        let error = unpack(&case.at(archive), &case.target(), limits).unwrap_err();
        assert_eq!(error.kind, Kind::Fetch);
        error.message
    };
    let all = Limits::default();
    for archive in ["bytes.tar.xz", "bytes.zip"] {
        let bytes = message(archive, Limits { bytes: 1 << 20, ..all });
        assert_eq!(bytes, format!("cannot unpack `{archive}`: it holds more than 1048576 bytes"));
        let ratio = message(archive, Limits { ratio: 100, ratio_from: 1 << 20, ..all });
        assert_eq!(ratio, format!("cannot unpack `{archive}`: it grows to more than 100 times its size"));
    }
    assert_eq!(message("hole.tar", all), "cannot unpack `hole.tar`: it holds more than 68719476736 bytes");
    let many = message("many.tar", Limits { entries: 3, ..all });
    assert_eq!(many, "cannot unpack `many.tar`: it holds more than 3 entries");
}

#[test]
fn hostile_zip_archives_are_refused() {
    use std::io::Write;
    use zip::write::SimpleFileOptions;
    let write = |name: &str, mode: u32, content: &str| {
        let case = Case::new();
        let mut zip = zip::ZipWriter::new(fs_err::File::create(case.at("x.zip")).unwrap());
        // The writer keeps type bits that it is given in the mode.
        if mode & libc::S_IFMT == libc::S_IFLNK {
            zip.add_symlink(name, content, SimpleFileOptions::default()).unwrap();
        } else {
            zip.start_file(name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        (case.unpack("x.zip").map(|_| ()).map_err(|e| e.message), case)
    };
    let refused = |reason: &str| Err(format!("cannot unpack `x.zip`: {reason}"));
    assert_eq!(write("../evil", 0o644, "x").0, refused("entry `../evil` would leave the folder"));
    assert_eq!(write("/evil", 0o644, "x").0, refused("entry `/evil` would leave the folder"));
    let out = "entry `d/a` links to `../../x`, outside the folder";
    assert_eq!(write("d/a", libc::S_IFLNK | 0o777, "../../x").0, refused(out));
    let (result, case) = write("tool", 0o4777, "x");
    assert_eq!((result, case.mode("tool")), (Ok(()), 0o755));
}

#[test]
fn the_source_folder_is_checked_and_the_right_one_suggested() {
    let case = Case::new();
    let top =
        |tops: &[&str]| Unpacked { tops: tops.iter().map(|t| (*t).to_owned()).collect(), files: 1, bytes: 1 };
    fs_err::create_dir_all(case.target().join("zlib-1.3/contrib")).unwrap();
    fs_err::write(case.target().join("README"), "").unwrap();
    let one = top(&["zlib-1.3"]);
    for right in [".", "zlib-1.3", "zlib-1.3/contrib", "./zlib-1.3"] {
        check_srcdir(&one, &case.target(), right).unwrap();
    }
    let error = check_srcdir(&one, &case.target(), "zlib-1.2").unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: the archive holds no folder `zlib-1.2`\n  at its top: `zlib-1.3/`\nhint: set SRCDIR=\"zlib-1.3\""
    );
    for wrong in ["", "..", "/", "zlib-1.3/../..", "README"] {
        let error = check_srcdir(&one, &case.target(), wrong).unwrap_err();
        assert_eq!(error.hints, ["set SRCDIR=\"zlib-1.3\""], "{wrong:?}");
    }
    let flat = top(&["README", "zlib-1.3"]);
    let error = check_srcdir(&flat, &case.target(), "tzdata").unwrap_err();
    assert_eq!(error.at, ["at its top: `README`, `zlib-1.3/`"]);
    assert_eq!(error.hints, ["set SRCDIR=\".\""]);
}
