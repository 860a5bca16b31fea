//! Recognises recipes by their words: those whose top level is plain enough to need no process of its own, and those whose
//! top level runs programs, so that nobody knows what its values depend on. What is not understood counts as neither plain
//! nor clear; bash evaluates all of them. Knows no other module.

/// Commands at the top level of a recipe that depend on nothing but what evaluation reports: the helpers, filters, and bash's own.
const CLEAR: &[&str] = &[
    "source",
    ".",
    "cat_file_merge",
    "cat_file_override",
    "file_path_override",
    "include_merge",
    "include_override",
    "echo",
    "printf",
    "true",
    ":",
    "false",
    "unset",
    "export",
    "local",
    "declare",
    "readonly",
    "return",
    "if",
    "then",
    "elif",
    "else",
    "fi",
    "for",
    "do",
    "done",
    "case",
    "esac",
    "while",
    "until",
    "in",
    "!",
    "{",
    "}",
    "shopt",
    "basename",
    "dirname",
];

/// Commands that are clear behind a `|`, where they read what comes out of it, and no file.
const FILTERS: &[&str] = &[
    "sort", "tr", "sed", "grep", "cut", "head", "tail", "uniq", "awk", "tsort", "tac", "wc", "paste", "rev",
];

/// Whether the top level of a recipe runs anything but [`CLEAR`] commands. Judged by its words, and strictly: a text that is not
/// understood counts as running programs, which costs a little time and never an answer.
pub fn runs_programs(text: &str) -> bool {
    let mut in_function = false;
    for line in text.lines() {
        let line = line.trim_end();
        if in_function {
            in_function = line != "}";
            continue;
        }
        if line.ends_with('{') && line.contains("()") {
            in_function = true;
            continue;
        }
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') || (line.contains("()") && line.ends_with('}')) {
            continue;
        }
        let assigns = |word: &str| {
            word.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty()
                    && name.trim_end_matches('+').bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
        };
        let plain = assigns(line) && !line.contains("$(") && !line.contains('`') && !line.contains("<(");
        let value = line.split_once('=').map_or("", |(_, value)| value);
        let one_string = value.len() > 1
            && value.starts_with('"')
            && value.find('"') != value.rfind('"')
            && value.matches('"').count() == 2;
        if plain && (one_string && value.ends_with('"') || !line.contains([';', '&', '|', '<'])) {
            continue;
        }
        if line.contains(['`', '<', '[']) {
            return true;
        }
        let separated = line.replace("||", "\n").replace("$(", "\n").replace([';', '&', '(', ')'], "\n");
        for (at, command) in separated.replace('|', "\n|").split("\n").enumerate() {
            let (filters, command) = command.strip_prefix('|').map_or((false, command), |rest| (true, rest));
            // Outside quotes these stand for the names of files.
            let unquoted: String = command.split(['"', '\'']).step_by(2).collect();
            if !filters && unquoted.contains(['*', '?']) {
                return true;
            }
            let Some(word) = command.split_whitespace().next() else { continue };
            // What follows a closed substitution on the same line belongs to the word before it.
            let quoted = at > 0 && word.starts_with(['"', '\'']);
            let clear = CLEAR.contains(&word) || filters && FILTERS.contains(&word);
            if !quoted && !assigns(word) && !clear {
                return true;
            }
        }
    }
    false
}

/// Whether a recipe is a makefile: its first line names make, and `-f`.
pub fn is_makefile(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let Some(interpreter) = first.strip_prefix("#!") else { return false };
    let mut words = interpreter.split_whitespace();
    words.next().is_some_and(|program| program.rsplit('/').next() == Some("make"))
        && words.next() == Some("-f")
}

/// Whether reading a makefile may run programs or look at files that make does not name afterwards. Judged by its words,
/// and strictly.
pub fn makefile_runs_programs(text: &str) -> bool {
    let functions = ["shell", "wildcard", "realpath", "file", "guile"];
    let calls =
        |function: &&str| text.contains(&format!("({function} ")) || text.contains(&format!("{{{function} "));
    let directives = ["-include", "sinclude", "load", "-load", "vpath"];
    let directs = |line: &str| line.split_whitespace().next().is_some_and(|word| directives.contains(&word));
    text.contains("!=") || text.contains('`') || functions.iter().any(calls) || text.lines().any(directs)
}

/// What a plain recipe does: it assigns words and defines functions, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Variables that it assigns.
    pub variables: Vec<String>,
    /// Functions that it defines, with their lines.
    pub functions: Vec<(String, u32)>,
    /// Variables that it reads before it assigns them.
    pub reads: Vec<String>,
}

/// Variables that change how bash reads or expands what follows. `LC_` and the like are among [`RESERVED`].
const SPECIAL: &[&str] = &["POSIXLY_CORRECT", "GLOBIGNORE", "FUNCNEST"];

/// What the names of variables begin with that are not a recipe's to set or to read.
const RESERVED: &[&str] = &["mk_", "MK_", "BASH", "LC_"];

impl Plain {
    /// `None`: the text has something else at its top level, or something that could end bash or leave traces.
    pub fn of(text: &str) -> Option<Plain> {
        let mut plain = Plain { variables: Vec::new(), functions: Vec::new(), reads: Vec::new() };
        let mut lines = text.lines().zip(1_u32..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim_end_matches([' ', '\t']);
            if line.is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_suffix("() {").map(str::trim_end).filter(|name| is_name(name)) {
                lines.by_ref().find(|(line, _)| *line == "}")?;
                plain.functions.push((name.to_owned(), number));
                continue;
            }
            let (name, value) = line.split_once('=')?;
            let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
            if !is_name(name) || SPECIAL.contains(&name) || !is_word(value) {
                return None;
            }
            for read in expansions(value)?.into_iter().chain(adds.then_some(name)) {
                let known = |names: &[String]| names.iter().any(|known| known == read);
                if !known(&plain.variables) && !known(&plain.reads) {
                    plain.reads.push(read.to_owned());
                }
            }
            if !plain.variables.iter().any(|known| known == name) {
                plain.variables.push(name.to_owned());
            }
        }
        let reserved = |name: &String| name == "_" || RESERVED.iter().any(|start| name.starts_with(start));
        if plain.variables.iter().chain(&plain.reads).any(reserved) {
            return None;
        }
        plain.variables.sort();
        plain.functions.sort();
        let twice = plain.functions.windows(2).any(|pair| pair[0].0 == pair[1].0);
        (!twice && !plain.variables.is_empty() && !plain.functions.is_empty()).then_some(plain)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether the right side of an assignment is one word on one line, perhaps with a comment behind it, that runs nothing
/// and sets nothing.
fn is_word(text: &str) -> bool {
    if text.contains(['`', '\\', '\r']) {
        return false;
    }
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, ' ' | '\t') => {
                let rest = chars.as_str().trim_start();
                return rest.is_empty() || rest.starts_with('#');
            }
            (None, ';' | '&' | '|' | '<' | '>' | '(' | ')' | '*' | '?' | '[' | '~') => return false,
            (None, _) => {}
        }
    }
    quote.is_none()
}

/// The variables that a word expands, in order; `None` where an expansion may do more than read one, or reads what is no
/// variable of that name.
fn expansions(text: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices('$') {
        let rest = &text[at + 1..];
        let (braces, rest) = rest.strip_prefix('{').map_or((false, rest), |rest| (true, rest));
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let reads =
            !braces || ["}", "%", "#", "/", "^", ",", ":-", ":+"].iter().any(|op| rest.starts_with(op));
        if !is_name(name) || !reads {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_recipes_are_recognised() {
        let text = "# zlib\nVERSION=\"1\" # newest\nURL='https://x/a;b'\nSRCDIR=zlib-$VERSION\n\nbuild() {\n\tA=$(x)\n}\n\nprepare () {\n\t:\n}\n";
        let plain = Plain::of(text).unwrap();
        assert_eq!(plain.variables, ["SRCDIR", "URL", "VERSION"]);
        assert_eq!(plain.functions, [("build".to_owned(), 6), ("prepare".to_owned(), 10)]);
        assert!(plain.reads.is_empty());
        let reads = Plain::of("B=\"$A-${C%.*}$B\"\nA=$B${A}\nD+=x\nf() {\n}\n").unwrap().reads;
        assert_eq!(reads, ["A", "C", "B", "D"]);
        for other in [
            "V=1 cmd",
            "V=$(x)",
            "V=\"a",
            "source x",
            "V=${A:=1}",
            "V=${A=1}",
            "V=${A:B=1}",
            "V=\"$[A=1]\"",
            "V=$_",
            "V=$1",
            "V=$?",
            "V=$BASHPID",
            "POSIXLY_CORRECT=1",
            "LC_CTYPE=C",
            "export V=1",
            "if :; then",
            "V=1; W=2",
            "f() {\n",
            "V=(1 2)",
            "f() {\n}\nf() {\n}",
            "V=1\r",
            "MK_X=1",
            "V=~",
            "",
        ] {
            assert_eq!(
                Plain::of(&format!("X=1\ng() {{\n:\n}}\n{other}")).is_some(),
                other.is_empty(),
                "{other:?}"
            );
        }
    }

    #[test]
    fn makefiles_are_told_by_their_first_line_and_those_that_run_programs_by_their_words() {
        for first in ["#! /usr/bin/make -f", "#!/usr/bin/make -f", "#! \t/usr/bin/make \t -f", "#!make -f"] {
            assert!(is_makefile(&format!("{first}\nVERSION = 1\n")), "{first}");
        }
        for first in ["", "VERSION=1", "#!/bin/bash", "#!/usr/bin/make", " #!/usr/bin/make -f", "# make -f"] {
            assert!(!is_makefile(&format!("{first}\n#!/usr/bin/make -f\n")), "{first}");
        }
        assert!(!makefile_runs_programs(
            "#!/usr/bin/make -f\nV = 1\ninclude x.mk\nbuild:\n\t$(CC) file $(V)\n"
        ));
        for text in ["V := $(shell date)", "V != date", "V = ${wildcard *}", "-include x", "V = $(file <x)"] {
            assert!(makefile_runs_programs(text), "{text}");
        }
    }

    #[test]
    fn recipes_that_run_programs_while_they_are_read_are_told_from_those_that_do_not() {
        for clear in [
            "VERSION=\"1\"\nURL=\"https://x/a|b;c\"",
            "DEPENDS=$(cat_file_merge \"ROOTFS\" | sort -u)\n\nbuild() {\n\tgit describe\n}",
            "source \"$SCRIPTDIR/pkg/file/build\"\nDEPENDS=\"\"",
            "V=$(cat_file_merge X | sed 's/#.*//' | grep -v '^$' | sort -u)",
            "prepare() { git x; }",
        ] {
            assert!(!runs_programs(clear), "{clear}");
        }
        for opaque in [
            "VERSION=$(git describe)",
            "V=`date`",
            "V=$(< file)",
            "[ -e /x ] && A=1",
            "mapfile -t X < list",
            "date",
            "V=$(sed -n 1p \"$SCRIPTDIR/version\")",
            "V=$(echo $SCRIPTDIR/pkg/lib*)",
            "for f in $SCRIPTDIR/pkg/*/build; do\nA=\"$A $f\"\ndone",
        ] {
            assert!(runs_programs(opaque), "{opaque}");
        }
    }
}
