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
    "fi",
    "for",
    "done",
    "}",
    "shopt",
    "basename",
    "dirname",
];

/// Words of bash's grammar that a command follows.
const LEADING: &[&str] = &["if", "then", "elif", "else", "do", "while", "until", "!", "{"];

/// Commands that are clear behind a `|`, where they read what comes out of it, and no file.
const FILTERS: &[&str] = &[
    "sort", "tr", "sed", "grep", "cut", "head", "tail", "uniq", "awk", "tsort", "tac", "wc", "paste", "rev",
];

/// Variables of bash that differ from run to run, or from one machine or user to the next.
const MOVING: &[&str] = &[
    "BASHPID",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "GROUPS",
    "HOSTNAME",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SRANDOM",
    "UID",
];

/// Whether the top level of a recipe runs anything but [`CLEAR`] commands. Judged by its words, and strictly: a text that is not
/// understood counts as running programs, which costs a little time and never an answer.
pub fn runs_programs(text: &str) -> bool {
    let mut words = Words { text, at: 0 };
    words.commands(None).is_none()
}

/// Bash text, read word by word. Whatever is not clear for certain ends it with `None`; what `script` does not understand, it
/// passes over, which is right for a lint and would be an answer that is wrong here.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Goes on behind the first of these bytes.
    fn skip_to(&mut self, end: u8) -> Option<()> {
        self.at += memchr::memchr(end, &self.text.as_bytes()[self.at..])? + 1;
        Some(())
    }

    /// Reads commands up to what closes them: the end of the text, a parenthesis, or the `;;` of a `case`.
    fn commands(&mut self, closing: Option<u8>) -> Option<()> {
        let mut filters = false;
        let mut command: Vec<&'t str> = Vec::new();
        loop {
            match self.peek() {
                byte @ (None | Some(b')')) => {
                    self.at += 1;
                    return (byte == closing && is_clear(&command, filters)).then_some(());
                }
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'#') => {
                    let rest = &self.text.as_bytes()[self.at..];
                    self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                }
                Some(b';') if closing == Some(b';') && self.text[self.at..].starts_with(";;") => {
                    self.at += 2;
                    return is_clear(&command, filters).then_some(());
                }
                // The last part of a `case` may go without.
                Some(_) if closing == Some(b';') && command.is_empty() && self.is_esac() => return Some(()),
                Some(separator @ (b'\n' | b';' | b'&' | b'|')) => {
                    self.at += 1;
                    if !is_clear(&command, filters) {
                        return None;
                    }
                    command.clear();
                    filters = separator == b'|';
                    match self.peek() {
                        Some(b'|' | b'&') if filters => {
                            self.at += 1;
                            filters = false;
                        }
                        _ => {}
                    }
                }
                _ if command.is_empty() && self.function() => {}
                _ => {
                    command.push(self.word()?);
                    if let [before @ .., "case", _, "in"] = command.as_slice() {
                        if !is_clear(before, filters) {
                            return None;
                        }
                        command.clear();
                        self.case()?;
                    }
                }
            }
        }
    }

    fn is_esac(&self) -> bool {
        let rest = self.text[self.at..].strip_prefix("esac");
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    }

    /// Reads the patterns and commands of a `case`, and its `esac`.
    fn case(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.skip_to(b'\n')?,
                _ if self.is_esac() => {
                    self.at += "esac".len();
                    return Some(());
                }
                _ => {
                    while self.peek()? != b')' {
                        self.piece()?;
                    }
                    self.at += 1;
                    self.commands(Some(b';'))?;
                }
            }
        }
    }

    /// Passes over a function that begins here: to the line that ends it, as far in as the one that it begins on.
    fn function(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let line = rest.lines().next().unwrap_or_default();
        let Some((name, body)) = line.split_once('(') else { return false };
        let Some(body) = body.trim_start().strip_prefix(')').map(str::trim) else { return false };
        if !name.trim_end().bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+.".contains(&b)) {
            return false;
        }
        let on_next = body.is_empty() && rest.lines().nth(1).is_some_and(|line| line.trim() == "{");
        if body.starts_with('{') && body.len() > 1 && body.ends_with('}') && !body.contains("};") {
            self.at += line.len();
            return true;
        }
        if body != "{" && !on_next {
            return false;
        }
        let before = &self.text[..self.at];
        let indent = &before[before.rfind('\n').map_or(0, |at| at + 1)..];
        // A redirection behind the brace is the function's too.
        let ends = |line: &str| {
            let behind = line.strip_prefix(indent).and_then(|line| line.strip_prefix('}')).map(str::trim);
            behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(['>', '<', '#', '1', '2']))
        };
        let mut length = 0;
        for (number, line) in rest.split_inclusive('\n').enumerate() {
            length += line.len();
            if number > 0 && ends(line) {
                self.at += length;
                return true;
            }
        }
        false
    }

    /// Reads one word, as it is written.
    fn word(&mut self) -> Option<&'t str> {
        let start = self.at;
        loop {
            match self.peek() {
                None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'|' | b')') => break,
                Some(b'&') if !self.text[..self.at].ends_with('>') => break,
                Some(b'(') if is_assignment(&self.text[start..self.at], true) => {
                    self.at += 1;
                    self.elements()?;
                }
                // Redirections, what other programs print, names of files, functions in other forms.
                Some(b'<' | b'`' | b'*' | b'?' | b'[' | b'(') => return None,
                Some(b'~') if start == self.at || self.text[..self.at].ends_with(['=', ':']) => return None,
                Some(_) => self.piece()?,
            }
        }
        Some(&self.text[start..self.at])
    }

    /// The elements of an array.
    fn elements(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                b')' => {
                    self.at += 1;
                    return Some(());
                }
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.skip_to(b'\n')?,
                b';' | b'&' | b'|' => return None,
                _ => drop(self.word()?),
            }
        }
    }

    /// One character of a word, or what stands in quotes, or an expansion.
    fn piece(&mut self) -> Option<()> {
        match self.take()? {
            b'\\' => drop(self.take()),
            b'\'' => self.skip_to(b'\'')?,
            b'"' => loop {
                match self.peek()? {
                    b'"' => {
                        self.at += 1;
                        break;
                    }
                    b'\'' => self.at += 1,
                    b'$' if self.text[self.at..].starts_with("$'") => self.at += 1,
                    _ => self.piece()?,
                }
            },
            b'$' => self.expansion()?,
            b'`' => return None,
            _ => {}
        }
        Some(())
    }

    /// What follows a dollar sign.
    fn expansion(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        if rest.starts_with("((") || rest.starts_with(['[', '$', '!']) {
            return None;
        }
        if rest.starts_with('(') {
            self.at += 1;
            return self.commands(Some(b')'));
        }
        if rest.starts_with('\'') {
            self.at += 1;
            while self.peek()? != b'\'' {
                self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
            }
            self.at += 1;
            return Some(());
        }
        let name = rest.trim_start_matches(['{', '#']);
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
        if MOVING.contains(&&name[..end]) {
            return None;
        }
        if rest.starts_with('{') {
            loop {
                match self.peek()? {
                    b'}' => break,
                    // Whether it begins a quotation depends on what is around.
                    b'\'' => return None,
                    b'$' if self.text[self.at..].starts_with("$'") => return None,
                    _ => self.piece()?,
                }
            }
            self.at += 1;
            let inside = &rest[..self.at - (self.text.len() - rest.len())];
            // `${!X}` reads what X names, `${X@P}` runs what stands in it.
            if inside.starts_with("{!") || inside.contains("@P") {
                return None;
            }
        }
        Some(())
    }
}

/// Whether a word is an assignment, or with `whole` the part of one before its value.
fn is_assignment(word: &str, whole: bool) -> bool {
    word.split_once('=').is_some_and(|(name, value)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        is_name(name) && (!whole || value.is_empty())
    })
}

/// Whether a command is clear: it only assigns, or is one of [`CLEAR`], or behind a `|` one of [`FILTERS`].
fn is_clear(command: &[&str], filters: bool) -> bool {
    let runs = |word: &&&str| !LEADING.contains(*word) && !is_assignment(word, false);
    let Some(first) = command.iter().position(|word| runs(&word)) else { return true };
    let (name, words) = (command[first], &command[first + 1..]);
    let names_a_file = |word: &&str| {
        let word = word.trim_start_matches(['"', '\'']);
        ["/", "./", "../", "$"].iter().any(|start| word.starts_with(start))
    };
    // The time.
    let tells = |word: &&str| name == "printf" && word.contains("%(");
    CLEAR.contains(&name) && !words.iter().any(tells)
        || filters && FILTERS.contains(&name) && !words.iter().any(names_a_file)
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain {
    /// Variables that it assigns, with the values of those that nothing is expanded in.
    pub variables: Vec<(String, Option<String>)>,
    /// The lines that assign them.
    pub assignments: String,
    /// Functions that it defines.
    pub functions: Vec<Defined>,
    /// Variables that it reads before it assigns them.
    pub reads: Vec<String>,
}

/// A function of a plain recipe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Defined {
    /// Its name.
    pub name: String,
    /// The line where it begins, from 1.
    pub line: u32,
    /// Its text as it is written, where no quotation, here-document or line goes on behind the line that closes it. Then bash
    /// prints the same for the same, and whatever else is left open is a syntax error.
    pub text: Option<String>,
}

/// Variables that change how bash reads or expands what follows. `LC_` and the like are among [`RESERVED`].
const SPECIAL: &[&str] = &["POSIXLY_CORRECT", "GLOBIGNORE", "FUNCNEST"];

/// What the names of variables begin with that are not a recipe's to set or to read.
const RESERVED: &[&str] = &["mk_", "MK_", "BASH", "LC_"];

impl Plain {
    /// `None`: the text has something else at its top level, or something that could end bash or leave traces.
    pub fn of(text: &str) -> Option<Plain> {
        let mut plain = Plain { assignments: String::with_capacity(text.len()), ..Plain::default() };
        if memchr::memchr2(b'\r', 0, text.as_bytes()).is_some() {
            return None;
        }
        // Where a part of it begins.
        let place = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let mut lines = text.lines().zip(1_u32..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim_end_matches([' ', '\t']);
            if line.is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_suffix("() {").map(str::trim_end).filter(|name| is_name(name)) {
                let (end, _) = lines.by_ref().find(|(line, _)| line.starts_with('}'))?;
                if end != "}" {
                    return None;
                }
                let written = &text[place(line)..=place(end)];
                let written = stands_alone(written).then(|| written.to_owned());
                plain.functions.push(Defined { name: name.to_owned(), line: number, text: written });
                continue;
            }
            let (name, value) = line.split_once('=')?;
            let (name, adds) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
            if !is_name(name) || SPECIAL.contains(&name) || !is_word(value) {
                return None;
            }
            for read in expansions(value)?.into_iter().chain(adds.then_some(name)) {
                let assigned = plain.variables.iter().any(|(known, _)| known == read);
                if !assigned && !plain.reads.iter().any(|known| known == read) {
                    plain.reads.push(read.to_owned());
                }
            }
            plain.assignments.extend([line, "\n"]);
            let value = if adds { None } else { literal(value) };
            match plain.variables.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => plain.variables.push((name.to_owned(), value)),
            }
        }
        let reserved = |name: &String| name == "_" || RESERVED.iter().any(|start| name.starts_with(start));
        if plain.variables.iter().map(|(name, _)| name).chain(&plain.reads).any(reserved) {
            return None;
        }
        plain.variables.sort();
        plain.functions.sort();
        let twice = plain.functions.windows(2).any(|pair| pair[0].name == pair[1].name);
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
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (_, b'`' | b'\\') => return false,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b' ' | b'\t') => {
                let rest = text[at..].trim_start();
                return (rest.is_empty() || rest.starts_with('#')) && !rest.contains(['`', '\\']);
            }
            (None, b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'*' | b'?' | b'[' | b'~') => {
                return false;
            }
            (None, _) => {}
        }
    }
    quote.is_none()
}

/// The value of a word that is one quotation in which nothing is expanded.
fn literal(text: &str) -> Option<String> {
    let inside = ['"', '\''].iter().find_map(|&quote| text.strip_prefix(quote)?.strip_suffix(quote))?;
    (!inside.contains(['"', '\'', '$', '`', '\\'])).then(|| inside.to_owned())
}

/// Whether every quotation in a function ends on the line that it begins on, and nothing goes on behind its last line.
fn stands_alone(text: &str) -> bool {
    let mut quote = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let before = text.as_bytes()[at.saturating_sub(1)];
        match (quote, byte) {
            (_, b'`') | (Some(_), b'\n') => return false,
            // In `$'…'` a quote may be escaped.
            (None, b'\'') if before == b'$' => return false,
            (_, b'<') if before == b'<' => return false,
            (None | Some(b'"'), b'\\') => {
                if matches!(bytes.next(), Some((at, b'\n')) if quote.is_some() || text[at + 1..].starts_with('}'))
                {
                    return false;
                }
            }
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            _ => {}
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
        let variables: Vec<_> =
            plain.variables.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        assert_eq!(variables, [("SRCDIR", None), ("URL", Some("https://x/a;b")), ("VERSION", None)]);
        let functions: Vec<_> = plain.functions.iter().map(|f| (f.name.as_str(), f.line)).collect();
        assert_eq!(functions, [("build", 6), ("prepare", 10)]);
        assert_eq!(plain.functions[1].text.as_deref(), Some("prepare () {\n\t:\n}"));
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
            "f() {\n} >&2\nh() {\n}",
            "V=1\r",
            "# \0",
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
    fn a_value_is_known_where_bash_would_change_nothing_about_it() {
        let value = |text: &str| Plain::of(&format!("{text}\nf() {{\n}}\n")).unwrap().variables[0].1.clone();
        for (text, known) in [
            ("V=\"1 2\"", Some("1 2")),
            ("V='1;2'", Some("1;2")),
            ("V=\"\"", Some("")),
            ("V=\"1\"\nV=\"2\"", Some("2")),
            ("V=\"1\"\nV+=\"2\"", None),
            ("V=\"1\"\nV=$V", None),
            ("V=1", None),
            ("V=\"$A\"", None),
            ("V='$A'", None),
            ("V=\"1\"'2'", None),
            ("V=\"1\"\"2\"", None),
            ("V=\"it's\"", None),
            ("V=\"1\" # \"", None),
        ] {
            assert_eq!(value(text).as_deref(), known, "{text}");
        }
    }

    #[test]
    fn a_function_is_taken_by_its_text_where_that_ends_with_it() {
        let text =
            |body: &str| Plain::of(&format!("V=1\nf() {{\n{body}\n}}\n")).unwrap().functions[0].text.clone();
        for body in [
            ":",
            "\tmake \"$1\" 'a b' # all",
            "if :; then\n\tx=$(date)\nfi",
            "printf 'a\\n' \\\n\t\"\\\"$1\" \\'",
        ] {
            assert_eq!(text(body), Some(format!("f() {{\n{body}\n}}")));
        }
        for body in
            ["cat <<E\nE", "a \"\n\"", "# don't", "a \\", "a \"\\\nb\"", "a `b`", "a $'\\'' '", "'\\''"]
        {
            assert_eq!(text(body), None, "{body}");
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
    fn recipes_that_come_with_mk_can_be_remembered() {
        let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = |folder: &str, name: &str| {
            let folders = fs_err::read_dir(tree.join(folder)).unwrap().flatten();
            folders.map(|entry| entry.path().join(name)).filter(|path| path.exists()).collect::<Vec<_>>()
        };
        let read = ["front.sh", "wrap.sh"].into_iter().flat_map(|name| files("pkg", name));
        let runs = |path: &std::path::PathBuf| {
            let text = fs_err::read_to_string(path).unwrap();
            if is_makefile(&text) { makefile_runs_programs(&text) } else { runs_programs(&text) }
        };
        let all = files("pkg", "build").into_iter().chain(files("board", "TOOLCHAIN")).chain(read);
        let mut found: Vec<_> =
            all.filter(runs).map(|path| path.strip_prefix(tree).unwrap().to_owned()).collect();
        found.sort();
        // They look at what is installed on this machine.
        let looking = ["pkg/ca-certificates/build", "pkg/nftables-prebuilt/build", "pkg/tc-installed/build"]
            .map(std::path::PathBuf::from);
        assert_eq!(found, looking);
    }

    #[test]
    fn recipes_that_run_programs_while_they_are_read_are_told_from_those_that_do_not() {
        for clear in [
            "VERSION=\"1\"\nURL=\"https://x/a|b;c\"",
            "DEPENDS=$(cat_file_merge \"ROOTFS\" | sort -u)\n\nbuild() {\n\tgit describe\n}",
            "source \"$SCRIPTDIR/pkg/file/build\"\nDEPENDS=\"\"",
            "V=$(cat_file_merge X | sed 's/#.*//' | grep -v '^$' | sort -u)",
            "prepare() { git x; }",
            "SHA256SUM=\"a\n\tb # c\"\nURL='x\ny'\r\nLICENSE=\"MIT\"\r\n",
            "FLAGS=(-a \"b c\" # d\n\t$X)\nMORE+=(x)",
            "A=1; B=${A:-\"x y\"} C=\"${A%.*}\"",
            "build()\n{\n\tdate\n} 2>&1\n# old() {\nA=1",
            "if include_override X; then\n\tbuild() {\n\t\tdate\n\t}\nfi\nfor x in a b; do A+=\" $x\"; done",
            "V=$(cat_file_merge X 2>/dev/null | head -n 1) # date",
            "export A=\"a|b;c&d $'\"",
            "case \"$X\" in\n# x\na | \"\") A=1 B=\"2 3\" ;;\n(b*)\n\tA=2\n\t;;\n*) A=3\nesac\nC=1",
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
            "V=$(LC_ALL=C cat file)",
            "V=\"a $(TZ=UTC date +%Y) b\"",
            "if grep -q two file; then V=2; fi",
            "! grep -q two file && V=2",
            "while cat file; do V=2; done",
            "{ cat file; }",
            "(cat file)",
            "# old_build() {\nV=$(cat file)\n}",
            "if :; then\n\tf() {\n\t\t:\n\t}\n\tV=$(date)\nfi\nb() {\n\t:\n}",
            "f() { :; }; V=$(date) # }",
            "f() {\n\t:\n} && date",
            "X=$(cat_file_merge A | sort - \"$SCRIPTDIR/b\")",
            "V=$EPOCHSECONDS",
            "V=${RANDOM}",
            "V=$$",
            "V=$(printf '%(%Y)T')",
            "V=${X@P}",
            "V=$((A + 1))",
            "V=(*.patch)",
            "V=\"open",
            "V=$(",
            "V=~/x",
            "V=ä\"$(date)\"",
            "case x in a) date ;; esac",
            "case x in a) : ;; *) date\nesac",
            "case x in a) : ;; esac; date",
            "case $(date) in a) : ;; esac",
            "case x in $(date)) : ;; esac",
            "case x in a) : ;;",
        ] {
            assert!(runs_programs(opaque), "{opaque}");
        }
    }
}
