//! Turns a failure and its log into the text that a user reads.
//! Knows `event`, and of the disk only the log file; does not print.

use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem::Finder;

use crate::event::Failure;

/// Most lines under `first errors:`.
const FIRST: usize = 8;
/// Lines under `end of log:`.
const LAST: usize = 15;
/// Longest line that is shown, in characters.
const WIDEST: usize = 300;
/// Bytes of a log that are in memory at once.
const CHUNK: usize = 256 * 1024;

/// What of a log is worth showing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The first lines that look like errors, cleaned; a line that only explains the one above begins with two spaces.
    pub errors: Vec<String>,
    /// The last lines, cleaned.
    pub tail: Vec<String>,
}

/// The whole text of `failure`, many lines, without a newline at the end. Paths below `root` are shown relative to it.
/// A log that cannot be read is said to be so and costs nothing else.
pub fn text(failure: &Failure, root: &Path) -> String {
    render(failure, root, true)
}

/// The same without a look into the log, which may be gone or another run's by now.
pub fn text_without_log(failure: &Failure, root: &Path) -> String {
    render(failure, root, false)
}

fn render(failure: &Failure, root: &Path, look: bool) -> String {
    let mut out = format!("error: {}: {}", failure.package, sentence(failure));
    for (depth, frame) in failure.stack.iter().enumerate() {
        let lead = if depth == 0 { "at" } else { "called from" };
        let _ = write!(out, "\n  {lead} {}:{}", frame.file, frame.line);
        if !frame.function.is_empty() && frame.function != "main" && frame.function != "source" {
            let _ = write!(out, " in {}()", frame.function);
        }
        if let (0, Some(command)) = (depth, &failure.command) {
            let _ = write!(out, ": {}", short(&clean(command.as_bytes())));
        }
    }
    if let (true, Some(command)) = (failure.stack.is_empty(), &failure.command) {
        let _ = write!(out, "\n  in {}", short(&clean(command.as_bytes())));
    }
    for line in &failure.at {
        let _ = write!(out, "\n  {}", clean(line.as_bytes()));
    }
    if let Some(log) = &failure.log {
        match look.then(|| excerpt(log)) {
            Some(Ok(excerpt)) => {
                list(&mut out, "first errors:", &excerpt.errors);
                list(&mut out, "end of log:", &excerpt.tail);
                if excerpt.tail.is_empty() {
                    out.push_str("\n  the log is empty");
                }
            }
            Some(Err(error)) => {
                let _ = write!(out, "\n  the log cannot be read: {error}");
            }
            None => {}
        }
        let _ = write!(out, "\n  log: {}", below(log, root));
    }
    if let Some(kept) = &failure.kept {
        let what = if kept.ends_with("src") { "changed source" } else { "build folder" };
        let _ = write!(out, "\n  {what} kept: {}", below(kept, root));
    }
    for hint in &failure.hints {
        let _ = write!(out, "\nhint: {hint}");
    }
    out
}

/// The hint on how to get into the room of a package. `again`: how `mk` is called for it.
pub fn shell_hint(again: &str, board: &str, product: &str, package: &str) -> String {
    format!("`{again} shell {board} {product} {package}` opens a shell in its room")
}

/// What failed, after the package's name.
fn sentence(failure: &Failure) -> String {
    let Some(step) = failure.step else {
        return if failure.message.is_empty() { "failed".into() } else { clean(failure.message.as_bytes()) };
    };
    let mut text = format!("{step} failed");
    match failure.exit {
        Some(exit @ crate::event::Exit::Code(_)) => {
            let _ = write!(text, " with {exit}");
        }
        Some(exit) => {
            let _ = write!(text, ", killed by {exit}");
        }
        None => {}
    }
    if !failure.message.is_empty() {
        let _ = write!(text, ": {}", clean(failure.message.as_bytes()));
    }
    text
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(out, "\n  {title}");
        for line in lines {
            let _ = write!(out, "\n    {line}");
        }
    }
}

/// A path as a user types it: relative where it lies below `root`.
pub fn below(path: &Path, root: &Path) -> String {
    clean(path.strip_prefix(root).unwrap_or(path).as_os_str().as_encoded_bytes())
}

fn short(line: &str) -> String {
    match line.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_string(),
    }
}

/// One line as it may be shown on any terminal: without escape sequences, control characters and what was overwritten
/// by a carriage return; tabs become spaces, bytes that are no UTF-8 the replacement character.
pub fn clean(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let bytes = memchr::memrchr(b'\r', bytes).map_or(bytes, |at| &bytes[at + 1..]);
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => match rest.next() {
                // CSI: parameters, then one final byte.
                Some('[') => while rest.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // OSC and its relatives: up to BEL or ESC \.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(c) = rest.next() {
                        if c == '\x07' || (c == '\x1b' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                // Character sets: one more.
                Some(' '..='/') => drop(rest.next()),
                _ => {}
            },
            '\t' => out.push_str("    "),
            // Also what turns the direction of writing: a log must not be able to disguise itself.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            '\n' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// Reads a log of any size in pieces and keeps what is worth showing. Errors are those of reading.
pub fn excerpt(log: &Path) -> std::io::Result<Excerpt> {
    let mut file = fs_err::File::open(log)?;
    let mut search = Search::default();
    let mut buffer = vec![0; CHUNK];
    let mut held = 0;
    while !search.is_full() {
        let read = file.read(&mut buffer[held..])?;
        let filled = held + read;
        // A line longer than the whole buffer is cut in two.
        let end = match memchr::memrchr(b'\n', &buffer[..filled]) {
            Some(at) if read > 0 => at + 1,
            None if read > 0 && filled < buffer.len() => 0,
            _ => filled,
        };
        search.look(&buffer[..end]);
        buffer.copy_within(end..filled, 0);
        held = filled - end;
        if read == 0 {
            break;
        }
    }
    Ok(Excerpt { errors: search.into_lines(), tail: tail(file, LAST)? })
}

/// The last `count` lines that are not blank at the very end.
fn tail(mut file: fs_err::File, count: usize) -> std::io::Result<Vec<String>> {
    let size = file.seek(SeekFrom::End(0))?;
    let from = size.saturating_sub(CHUNK as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(CHUNK as u64).read_to_end(&mut bytes)?;
    let mut lines: Vec<String> = Vec::new();
    for line in bytes.rsplit(|&b| b == b'\n') {
        let line = clean(line);
        if lines.is_empty() && line.is_empty() {
            continue;
        }
        lines.push(short(&line));
        if lines.len() == count {
            break;
        }
    }
    lines.reverse();
    Ok(lines)
}

/// How much a line says of what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// It names the cause.
    Cause,
    /// It follows from another, or may be harmless; shown where there is no cause.
    Consequence,
}

/// Goes through a log and collects.
#[derive(Default)]
struct Search {
    causes: Vec<String>,
    consequences: Vec<String>,
    /// Inside a traceback of Python whose first line is indented so far.
    traceback: Option<usize>,
    /// How many more lines may belong to the last cause, and what they begin with.
    more: Option<(usize, &'static str)>,
}

impl Search {
    fn is_full(&self) -> bool {
        self.causes.len() >= FIRST
    }

    fn into_lines(self) -> Vec<String> {
        let mut lines = if self.causes.is_empty() { self.consequences } else { self.causes };
        lines.truncate(FIRST);
        lines
    }

    /// Whole lines.
    fn look(&mut self, bytes: &[u8]) {
        // Most of a log holds nothing; a few fast searches tell so for many lines at once.
        let hit = NEEDLES.iter().any(|needle| Finder::new(needle).find(bytes).is_some());
        if !hit && self.traceback.is_none() && self.more.is_none() {
            return;
        }
        for line in bytes.split_inclusive(|&b| b == b'\n') {
            if self.is_full() {
                return;
            }
            let busy = self.traceback.is_some() || self.more.is_some();
            if busy || NEEDLES.iter().any(|needle| memchr::memmem::find(line, needle.as_bytes()).is_some()) {
                self.line(&clean(line));
            }
        }
    }

    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some((left, lead)) = self.more {
            self.more = (left > 1).then_some((left - 1, lead));
            if indent > 0 && text.starts_with(lead) {
                self.causes.push(format!("  {}", short(text)));
                return;
            }
            // CMake puts a blank line between paragraphs; anything else ends the explanation.
            if !text.is_empty() {
                self.more = None;
            }
        }
        if let Some(depth) = self.traceback {
            if text.is_empty() || indent > depth {
                return;
            }
            self.traceback = None;
            if !text.starts_with("Traceback (") {
                self.causes.push(short(text));
                return;
            }
        }
        if text.starts_with("Traceback (most recent call last)") {
            self.traceback = Some(indent);
            return;
        }
        match sign(text) {
            Some(Sign::Cause) => {
                self.causes.push(short(text));
                self.more = if text.starts_with("CMake Error") {
                    Some((3, ""))
                } else if text.starts_with("error") {
                    Some((1, "--> "))
                } else {
                    None
                };
            }
            Some(Sign::Consequence) if self.consequences.len() < FIRST => self.consequences.push(short(text)),
            _ => {}
        }
    }
}

/// At least one of these is in every line that `sign` knows.
const NEEDLES: [&str; 14] = [
    "rror",
    "RROR",
    "*** ",
    "**** ",
    "undefined reference",
    "cannot find ",
    "not found",
    "multiple definition of",
    "Traceback",
    "FAILED",
    "No such file",
    "No space left",
    "Permission denied",
    "Killed",
];

/// What a line without indentation tells.
fn sign(line: &str) -> Option<Sign> {
    let has = |part: &str| line.contains(part);
    // `configure` asks for errors and headers without meaning it.
    if line.starts_with("checking ") || line.starts_with("-- ") || has("(ignored)") {
        return None;
    }
    // GNU make: `make[1]: *** [Makefile:3: all] Error 2` repeats what a child has said.
    if let Some((_, said)) = line.split_once(": *** ") {
        let repeats =
            said.contains("] Error ") || said.contains("] Killed") || said.starts_with("Waiting for");
        return Some(if repeats { Sign::Consequence } else { Sign::Cause });
    }
    // What the compiler's driver and cargo say after the fact.
    if line.starts_with("collect2: error:") || line.starts_with("error: could not compile") {
        return Some(Sign::Consequence);
    }
    // The linkers, those of binutils and LLVM; patch; a full disk.
    if has("undefined reference to")
        || has("cannot find -l")
        || has("multiple definition of")
        || has("No space left on device")
        || (line.starts_with("Hunk #") && has(" FAILED"))
        || has("patch: **** ")
        || line.starts_with("CMake Error")
    {
        return Some(Sign::Cause);
    }
    // bash: `build: line 3: cmake: command not found`; dash: `sh: 1: cmake: not found`.
    if line.ends_with(": command not found")
        || (line.ends_with(": not found") && line.matches(": ").count() >= 3)
    {
        return Some(Sign::Cause);
    }
    if says_error(line) {
        return Some(Sign::Cause);
    }
    let weak = has(": No such file or directory")
        || has(": Permission denied")
        || line.starts_with("FAILED: ")
        || line.starts_with("Killed")
        || line.ends_with(": Killed");
    weak.then_some(Sign::Consequence)
}

/// Whether the line has an `error:` at its start or after a `place:`; in `warning: … error: …` it has not.
fn says_error(line: &str) -> bool {
    ["error", "Error", "ERROR"].iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            let after = &line[at + word.len()..];
            // `error:` of most, `error[E0432]:` of rustc.
            if !(after.starts_with(':') || (after.starts_with("[E") && at == 0)) {
                return false;
            }
            let before = line[..at].trim_end();
            let place = before.strip_suffix("fatal").or_else(|| before.strip_suffix("internal compiler"));
            let place = place.unwrap_or(before).trim_end();
            let whole_word = line[..at].is_empty() || line[..at].ends_with([' ', ':']);
            whole_word && (place.is_empty() || place.ends_with(':')) && !place.contains("warning:")
        })
    }) || one_word_error(line)
}

/// `SyntaxError: invalid syntax` and its like stand alone when Python cannot even begin.
fn one_word_error(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, _)| {
        name.ends_with("Error") && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(log: &str) -> Vec<String> {
        let mut search = Search::default();
        search.look(log.as_bytes());
        search.into_lines()
    }

    #[test]
    fn each_tool_s_way_of_saying_error_is_known() {
        let table: &[(&str, &str, &[&str])] = &[
            (
                "gcc",
                "gcc -Werror -c a.c\n\
                 a.c: In function 'main':\n\
                 a.c:3:9: warning: unused variable 'error' [-Wunused-variable]\n\
                 a.c:4:12: error: 'x' undeclared (first use in this function)\n\
                 \x20   4 |     return x;\n\
                 make: *** [Makefile:3: a.o] Error 1\n",
                &["a.c:4:12: error: 'x' undeclared (first use in this function)"],
            ),
            (
                "gcc, in colour",
                "\x1b[01m\x1b[Ka.c:1:10:\x1b[m\x1b[K \x1b[01;31m\x1b[Kfatal error: \x1b[m\x1b[Kz.h: No such file or directory\n",
                &["a.c:1:10: fatal error: z.h: No such file or directory"],
            ),
            (
                "gcc falls over",
                "a.c:9:1: internal compiler error: Segmentation fault\ngcc: fatal error: Killed signal terminated program cc1\n",
                &[
                    "a.c:9:1: internal compiler error: Segmentation fault",
                    "gcc: fatal error: Killed signal terminated program cc1",
                ],
            ),
            (
                "clang",
                "src/b.cpp:7:3: error: use of undeclared identifier 'foo'\n  foo();\n  ^\n1 error generated.\n",
                &["src/b.cpp:7:3: error: use of undeclared identifier 'foo'"],
            ),
            (
                "assembler",
                "{standard input}:12: Error: no such instruction: `vfoo %xmm0'\n",
                &["{standard input}:12: Error: no such instruction: `vfoo %xmm0'"],
            ),
            (
                "ld, undefined",
                "/mk/root/toolchain/bin/x-ld: main.o: in function `main':\n\
                 main.c:(.text+0x1d): undefined reference to `deflateInit_'\n\
                 collect2: error: ld returned 1 exit status\n",
                &["main.c:(.text+0x1d): undefined reference to `deflateInit_'"],
            ),
            (
                "ld, library",
                "/usr/bin/ld: cannot find -lssl: No such file or directory\ncollect2: error: ld returned 1 exit status\n",
                &["/usr/bin/ld: cannot find -lssl: No such file or directory"],
            ),
            (
                "lld",
                "ld.lld: error: undefined symbol: inflate\n>>> referenced by a.c\n",
                &["ld.lld: error: undefined symbol: inflate"],
            ),
            (
                "make alone",
                "make[2]: Entering directory '/mk/root/build'\n\
                 make[2]: *** No rule to make target 'x.c', needed by 'x.o'.  Stop.\n\
                 make[1]: *** [Makefile:9: all] Error 2\n\
                 make: [Makefile:4: clean] Error 1 (ignored)\n",
                &["make[2]: *** No rule to make target 'x.c', needed by 'x.o'.  Stop."],
            ),
            (
                "make, which has nothing but its own word",
                "./generate\nmake: *** [Makefile:3: all] Error 3\n",
                &["make: *** [Makefile:3: all] Error 3"],
            ),
            (
                "make, syntax",
                "Makefile:3: *** missing separator.  Stop.\n",
                &["Makefile:3: *** missing separator.  Stop."],
            ),
            (
                "cmake",
                "-- Check for error: no\n\
                 CMake Error at /usr/share/cmake/FindPackageHandleStandardArgs.cmake:230 (message):\n\
                 \x20 Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)\n\
                 Call Stack (most recent call first):\n\
                 \x20 CMakeLists.txt:12 (find_package)\n",
                &[
                    "CMake Error at /usr/share/cmake/FindPackageHandleStandardArgs.cmake:230 (message):",
                    "  Could NOT find ZLIB (missing: ZLIB_LIBRARY ZLIB_INCLUDE_DIR)",
                ],
            ),
            (
                "configure",
                "checking for error: header... no\nchecking for zlib.h... no\n\
                 configure: error: zlib is required but was not found\n",
                &["configure: error: zlib is required but was not found"],
            ),
            (
                "meson",
                "Found ninja-1.11 at /usr/bin/ninja\n\
                 ../src/meson.build:14:0: ERROR: Dependency \"glib-2.0\" not found, tried pkgconfig\n",
                &["../src/meson.build:14:0: ERROR: Dependency \"glib-2.0\" not found, tried pkgconfig"],
            ),
            (
                "ninja",
                "[3/9] cc a.c\nFAILED: a.o \ncc -c a.c\na.c:1:1: error: unknown type name 'foo'\n\
                 ninja: build stopped: subcommand failed.\n",
                &["a.c:1:1: error: unknown type name 'foo'"],
            ),
            (
                "python",
                "Traceback (most recent call last):\n\
                 \x20 File \"/mk/src/x/setup.py\", line 3, in <module>\n\
                 \x20   import wheel\n\
                 ModuleNotFoundError: No module named 'wheel'\n",
                &["ModuleNotFoundError: No module named 'wheel'"],
            ),
            (
                "python, one after the other, indented by another tool",
                "  Traceback (most recent call last):\n    File \"a.py\", line 1\n  KeyError: 'x'\n\n\
                 During handling of the above exception, another exception occurred:\n\n\
                 Traceback (most recent call last):\n  File \"a.py\", line 2\n      ^^^^\nRuntimeError: gone\n",
                &["KeyError: 'x'", "RuntimeError: gone"],
            ),
            (
                "python, syntax",
                "  File \"a.py\", line 1\n    x =\nSyntaxError: invalid syntax\n",
                &["SyntaxError: invalid syntax"],
            ),
            (
                "bash",
                "/mk/tree/pkg/x/build: line 12: cmake: command not found\n",
                &["/mk/tree/pkg/x/build: line 12: cmake: command not found"],
            ),
            ("dash", "/bin/sh: 1: bison: not found\n", &["/bin/sh: 1: bison: not found"]),
            (
                "cargo",
                "   Compiling x v0.1.0\n\
                 error[E0432]: unresolved import `foo`\n\
                 \x20--> src/main.rs:1:5\n\
                 \x20 |\n\
                 error: could not compile `x` (bin \"x\") due to 1 previous error\n",
                &["error[E0432]: unresolved import `foo`", "  --> src/main.rs:1:5"],
            ),
            (
                "patch",
                "patching file a.c\nHunk #1 FAILED at 12.\n1 out of 1 hunk FAILED -- saving rejects to file a.c.rej\n",
                &["Hunk #1 FAILED at 12."],
            ),
            (
                "disk",
                "cp: error writing 'x': No space left on device\n",
                &["cp: error writing 'x': No space left on device"],
            ),
            (
                "libtool",
                "libtool:   error: cannot find the library 'libz.la'\n",
                &["libtool:   error: cannot find the library 'libz.la'"],
            ),
            (
                "cp, where nothing else is said",
                "cp: cannot stat 'conf': No such file or directory\n",
                &["cp: cannot stat 'conf': No such file or directory"],
            ),
            (
                "nothing",
                "checking for strerror... yes\n0 errors, 0 warnings\ncc -Werror=format -o error.o error.c\n\
                 a.c:1: warning: this is no error: really\nTerror: no\n",
                &[],
            ),
        ];
        for (tool, log, expected) in table {
            assert_eq!(found(log), *expected, "{tool}");
        }
    }

    #[test]
    fn whatever_signs_a_line_is_among_the_needles() {
        for line in [
            "a:1: *** x",
            "undefined reference to `x'",
            "ld: cannot find -lx",
            "multiple definition of `x'",
            "No space left on device",
            "Hunk #1 FAILED",
            "patch: **** x",
            "CMake Error",
            "x: command not found",
            "a: 1: x: not found",
            "error: x",
            "ERROR: x",
            "a: No such file or directory",
            "a: Permission denied",
            "Killed",
        ] {
            assert!(sign(line).is_some(), "{line}");
            assert!(NEEDLES.iter().any(|needle| line.contains(needle)), "{line}");
        }
    }

    #[test]
    fn a_cleaned_line_has_no_power_over_the_terminal() {
        for (raw, plain) in [
            (&b"\x1b[1;31mred\x1b[0m\n"[..], "red"),
            (b"\x1b]0;title\x07text\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "textlink"),
            (b"10%\r20%\rdone\r\n", "done"),
            (b"a\tb\x00\x08\x7f  ", "a    b"),
            (b"\x1b(Bx\x1b", "x"),
            (b"caf\xc3\xa9 \xff", "café \u{fffd}"),
            ("a\u{202e}b\u{9b}2Jc".as_bytes(), "ab2Jc"),
            (b"", ""),
        ] {
            assert_eq!(clean(raw), plain);
        }
    }
}
