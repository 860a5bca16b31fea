//! What bash prints of itself: records, declared variables, and who set what. Reads text; starts nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::evaluated::{Assignment, Variable};
use crate::layout::Tree;

/// The records of one answer: words and their values.
pub type Records = Vec<(String, String)>;

/// Takes an answer apart.
pub fn records(answer: &[u8]) -> Records {
    let mut fields = answer.split(|&byte| byte == 0).map(|field| String::from_utf8_lossy(field).into_owned());
    let mut records = Vec::new();
    while let (Some(word), Some(value)) = (fields.next(), fields.next()) {
        records.push((word, value));
    }
    records
}

/// An error if bash could not write down what it found.
pub fn check_written(records: &Records) -> Result<()> {
    let unwritable = records.iter().find(|(word, _)| word == "unwritable");
    let error = |file| Error::new(Kind::Host, format!("cannot write to `{file}` what recipes say"));
    let hint = "bash writes to memory of `mk` there: `/proc` has to be mounted, and some memory to be left";
    unwritable.map_or(Ok(()), |(_, file)| Err(error(file).hint(hint)))
}

/// Variables that bash sets by itself.
pub const BASH_VARIABLES: &[&str] = &[
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "COMP_WORDBREAKS",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "HOSTNAME",
    "HOSTTYPE",
    "IFS",
    "LINENO",
    "MACHTYPE",
    "OLDPWD",
    "OPTERR",
    "OPTIND",
    "OSTYPE",
    "PATH",
    "PIPESTATUS",
    "PPID",
    "PS1",
    "PS2",
    "PS4",
    "PWD",
    "RANDOM",
    "SECONDS",
    "SHELL",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TERM",
    "UID",
    "_",
    "LC_ALL",
    "HOME",
    "PKGNAME",
    "MAPFILE",
    "REPLY",
    "OS_RELEASE",
];

/// Those of [`BASH_VARIABLES`] that a recipe may set for its steps, and that do not change by themselves.
pub const OF_BASH_BUT_SETTABLE: &[&str] =
    &["HOSTNAME", "HOSTTYPE", "MACHTYPE", "OPTERR", "OSTYPE", "PS1", "PS2", "PS4", "SHELL", "TERM"];

/// Who set what: differences between what was before a command and before the next, and assignments that changed nothing.
pub fn history(records: &Records, tree: &Tree) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut before: Option<(&str, BTreeMap<String, Variable>)> = None;
    let mut at = "";
    for (word, value) in records {
        match word.as_str() {
            "at" => at = value,
            "state" => {
                let now = declarations(value);
                if let Some((place, old)) = before.replace((at, now.clone())) {
                    differences(place, &old, &now, tree, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

fn differences(
    place: &str,
    old: &BTreeMap<String, Variable>,
    now: &BTreeMap<String, Variable>,
    tree: &Tree,
    found: &mut Vec<Assignment>,
) {
    let (at, command) = place.split_once('\n').unwrap_or((place, ""));
    let (line, path) = at.split_once(' ').unwrap_or(("0", ""));
    let last = line.parse().unwrap_or(0);
    let same = assigned(command);
    let names: BTreeSet<&String> = old.keys().chain(now.keys()).collect();
    for name in names {
        let own = BASH_VARIABLES.contains(&name.as_str())
            || ["BASH_", "mk_", "MK_"].iter().any(|start| name.starts_with(start));
        if own || (old.get(name) == now.get(name) && same != Some(name)) {
            continue;
        }
        found.push(Assignment {
            name: name.clone(),
            value: now.get(name).cloned(),
            file: if path.is_empty() { String::new() } else { tree.show(Path::new(path)) },
            line: first_line(Path::new(path), last, name),
        });
    }
}

/// The variable that a command sets which is nothing but one assignment.
fn assigned(command: &str) -> Option<&str> {
    let end = command.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
    let (name, rest) = command.split_at(end);
    let value = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('='))?;
    let (mut single, mut double, mut escaped) = (false, false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if !single => escaped = true,
            '\'' if !double => single = !single,
            '"' if !single => double = !double,
            ' ' | '\t' if !single && !double => return None,
            _ => {}
        }
    }
    (!name.is_empty()).then_some(name)
}

/// Where an assignment begins: bash tells the line on which a command ends.
fn first_line(path: &Path, last: u32, name: &str) -> u32 {
    let text =
        fs_err::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let is_set = |line: &str| {
        let mut rest = line;
        while let Some(at) = rest.find(name) {
            let free = !rest[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            rest = &rest[at + name.len()..];
            if free && (rest.starts_with('=') || rest.starts_with("+=")) {
                return true;
            }
        }
        false
    };
    let lines: Vec<&str> = text.lines().take(last as usize).collect();
    lines.iter().rposition(|line| is_set(line)).and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(last)
}

/// Reads what `declare -p` printed. Unknown forms are passed over line by line.
pub fn declarations(text: &str) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("declare -") {
        let Some((flags, tail)) = after.split_once(' ') else { break };
        let name_end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(name_end);
        let (value, tail) = match tail.strip_prefix('=') {
            Some(tail) => word(tail, flags),
            None => (None, tail),
        };
        if let Some(value) = value {
            found.insert(name.to_owned(), Variable { flags: flags.to_owned(), value });
        }
        rest = tail.split_once('\n').map_or("", |(_, next)| next);
    }
    found
}

/// One value in bash's notation and what follows it. Arrays stay in their notation.
fn word<'t>(text: &'t str, flags: &str) -> (Option<String>, &'t str) {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    if flags.contains(['a', 'A']) && bytes.first() == Some(&b'(') {
        // What quotation is open: `"…"`, or `$'…'` by its end.
        let mut quotation = None;
        while i < bytes.len() {
            match (quotation, bytes[i]) {
                (_, b'\\') => i += 1,
                (Some(end), byte) if byte == end => quotation = None,
                (Some(_), _) => {}
                (None, quote @ (b'"' | b'\'')) => quotation = Some(quote),
                (None, b')') => break,
                (None, _) => {}
            }
            i += 1;
        }
        let end = (i + 1).min(text.len());
        return (Some(text[..end].to_owned()), &text[end..]);
    }
    if bytes.starts_with(b"$'") {
        i = 2;
        while i < bytes.len() && bytes[i] != b'\'' {
            if bytes[i] != b'\\' {
                out.push(bytes[i]);
                i += 1;
                continue;
            }
            i += 1;
            let Some(&escape) = bytes.get(i) else { break };
            i += 1;
            match escape {
                b'n' => out.push(b'\n'),
                b't' => out.push(b'\t'),
                b'r' => out.push(b'\r'),
                b'a' => out.push(7),
                b'b' => out.push(8),
                b'v' => out.push(11),
                b'f' => out.push(12),
                b'e' | b'E' => out.push(27),
                b'0'..=b'7' => {
                    let digits =
                        bytes[i - 1..].iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                    let number =
                        bytes[i - 1..i - 1 + digits].iter().fold(0_u32, |n, b| n * 8 + u32::from(b - b'0'));
                    out.push(number as u8);
                    i += digits - 1;
                }
                other => out.push(other),
            }
        }
        i += 1;
    } else if bytes.first() == Some(&b'"') {
        i = 1;
        while i < bytes.len() && bytes[i] != b'"' {
            if bytes[i] == b'\\' && bytes.get(i + 1).is_some_and(|b| b"\\\"$`".contains(b)) {
                i += 1;
            }
            out.push(bytes[i]);
            i += 1;
        }
        i += 1;
    } else {
        while i < bytes.len() && bytes[i] != b'\n' {
            out.push(bytes[i]);
            i += 1;
        }
    }
    let end = i.min(text.len());
    (Some(String::from_utf8_lossy(&out).into_owned()), text.get(end..).unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_every_form_are_read() {
        let text = "declare -- A=\"a \\\"b\\\" \\$c\"\ndeclare -x B=$'x\\ny\\'z\\033'\ndeclare -a C=([0]=\"1)\" [1]=\"2 3\")\ndeclare -r D\n\
                    declare -- E=\"two\nlines\"\ndeclare -i F=\"7\"\n\
                    declare -a G=([0]=$'s/(\"x)\\'/y/\\n' [1]=\"2\")\ndeclare -- H=\"8\"\n";
        let found = declarations(text);
        assert_eq!(found["A"].value, "a \"b\" $c");
        assert_eq!(found["B"], Variable { flags: "x".into(), value: "x\ny'z\u{1b}".into() });
        assert_eq!(found["C"].value, "([0]=\"1)\" [1]=\"2 3\")");
        assert!(!found.contains_key("D"));
        assert_eq!(found["E"].value, "two\nlines");
        assert_eq!(found["F"].value, "7");
        assert_eq!(found["G"].value, "([0]=$'s/(\"x)\\'/y/\\n' [1]=\"2\")");
        assert_eq!(found["H"].value, "8");
    }
}
