//! A bash text as a lint sees it: commands, what they set and what they name, each with its line.
//! It is no parser: whatever it does not understand it passes over. Knows no other module.

use std::collections::BTreeSet;

/// A command: its words as written, after redirections are taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The line of its first word.
    pub line: u32,
    /// Words with their quotes; assignments that stand before the command are not among them.
    pub words: Vec<String>,
}

/// What was found in a text.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Commands, in order, also those inside substitutions.
    pub commands: Vec<Command>,
    /// Variables that are set: by assignments, `local`, `for`, `read`, …
    pub sets: Vec<(u32, String)>,
    /// Variables whose value is asked for.
    pub uses: Vec<(u32, String)>,
    /// Variables that are asked for with something in their place where they are unset (`${X:-y}`).
    pub guarded: Vec<(u32, String)>,
    /// Functions that are defined.
    pub functions: BTreeSet<String>,
    /// Every word, as written.
    pub words: Vec<String>,
    /// Comments without their `#`.
    pub comments: Vec<(u32, String)>,
}

impl Script {
    /// Looks through a text.
    pub fn new(text: &str) -> Script {
        let mut reader = Reader {
            text: text.replace('\r', "").chars().collect(),
            at: 0,
            line: 1,
            found: Script::default(),
            heredocs: Vec::new(),
        };
        while reader.at < reader.text.len() {
            reader.commands(None, 0);
            // A closing bracket that nothing opened.
            reader.step();
        }
        reader.found
    }
}

/// A variable's name at the start of a text, if one is there.
fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    if text.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &text[..end] }
}

/// Name and value of a word that is an assignment.
pub fn assignment(word: &str) -> Option<(&str, &str)> {
    let name = name_of(word);
    if name.is_empty() {
        return None;
    }
    let mut rest = &word[name.len()..];
    if rest.starts_with('[') {
        rest = rest.split_once(']')?.1;
    }
    let value = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('='))?;
    Some((name, value))
}

/// Words after which another command begins.
const RESERVED: &[&str] =
    &["{", "}", "if", "then", "else", "elif", "fi", "do", "done", "while", "until", "!", "time", "esac"];
/// Commands whose arguments are assignments or names of variables.
const DECLARING: &[&str] = &["local", "export", "declare", "readonly", "typeset"];
/// Depth of substitutions after which a text is no recipe any more.
const DEEPEST: usize = 50;

struct Reader {
    text: Vec<char>,
    at: usize,
    line: u32,
    found: Script,
    /// Ends of here-documents that begin on this line: word, whether it was quoted, whether tabs are stripped.
    heredocs: Vec<(String, bool, bool)>,
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn step(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    /// Reads commands up to `until`, which is left unread.
    fn commands(&mut self, until: Option<char>, depth: usize) {
        let mut words: Vec<String> = Vec::new();
        let mut line = self.line;
        let (mut cases, mut pattern) = (0, false);
        while let Some(c) = self.peek(0) {
            match c {
                ' ' | '\t' => drop(self.step()),
                '\\' if self.peek(1) == Some('\n') => {
                    self.step();
                    self.step();
                }
                '#' => self.comment(),
                '\n' => {
                    self.end(&mut words, line);
                    self.step();
                    self.skip_heredocs();
                }
                '|' if pattern => {
                    words.clear();
                    self.step();
                }
                ';' | '&' | '|' => {
                    if c == ';' && self.peek(1) == Some(';') && cases > 0 {
                        pattern = true;
                    }
                    self.end(&mut words, line);
                    self.step();
                }
                '(' => {
                    self.step();
                    if pattern && words.is_empty() {
                        continue;
                    }
                    if self.peek(0) == Some('(') && words.is_empty() {
                        self.step();
                        self.arithmetic();
                    } else if let (Some(name), 1) = (words.first(), words.len()) {
                        self.found.functions.insert(name.clone());
                        words.clear();
                        while self.peek(0).is_some_and(|c| c == ' ' || c == ')') {
                            self.step();
                        }
                    } else if depth < DEEPEST {
                        self.commands(Some(')'), depth + 1);
                        self.step();
                    }
                }
                ')' if pattern => {
                    words.clear();
                    pattern = false;
                    self.step();
                }
                _ if Some(c) == until => break,
                ')' => break,
                '<' | '>' => self.redirection(depth),
                _ => {
                    if words.is_empty() {
                        line = self.line;
                    }
                    let word = self.word(until, depth);
                    if word.is_empty() {
                        self.step();
                        continue;
                    }
                    if !word.contains(['/', '$'])
                        && self.peek(0).is_some_and(|c| c == '<' || c == '>')
                        && word.bytes().all(|b| b.is_ascii_digit())
                    {
                        continue;
                    }
                    self.found.words.push(word.clone());
                    if pattern && word == "esac" {
                        (cases, pattern) = (cases - 1, false);
                        continue;
                    }
                    if words.is_empty() && !pattern {
                        if RESERVED.contains(&word.as_str()) {
                            if word == "esac" && cases > 0 {
                                cases -= 1;
                            }
                            continue;
                        }
                        if let Some((name, _)) = assignment(&word) {
                            self.found.sets.push((self.line, name.to_owned()));
                            continue;
                        }
                    }
                    words.push(word);
                    match words.first().map(String::as_str) {
                        Some("case") if words.len() >= 3 && words.last().is_some_and(|word| word == "in") => {
                            words.clear();
                            (cases, pattern) = (cases + 1, true);
                        }
                        Some("function") if words.len() == 2 => {
                            self.found.functions.extend(words.pop());
                            words.clear();
                        }
                        _ => {}
                    }
                }
            }
        }
        self.end(&mut words, line);
    }

    /// Takes a finished command.
    fn end(&mut self, words: &mut Vec<String>, line: u32) {
        let words = std::mem::take(words);
        let Some(first) = words.first() else { return };
        let bare = |word: &String| name_of(word.trim_start_matches(['"', '\''])).to_owned();
        let names: Vec<String> = match first.as_str() {
            "for" | "select" => words.get(1).map(bare).into_iter().collect(),
            "read" | "mapfile" | "readarray" | "getopts" | "unset" => {
                words[1..].iter().filter(|word| !word.starts_with('-')).map(bare).collect()
            }
            "printf" => words.windows(2).filter(|pair| pair[0] == "-v").map(|pair| bare(&pair[1])).collect(),
            word if DECLARING.contains(&word) => {
                words[1..].iter().filter(|word| !word.starts_with('-')).map(bare).collect()
            }
            _ => Vec::new(),
        };
        self.found.sets.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (line, name)));
        if !matches!(first.as_str(), "for" | "select") {
            self.found.commands.push(Command { line, words });
        }
    }

    fn comment(&mut self) {
        let line = self.line;
        self.step();
        let mut text = String::new();
        while let Some(c) = self.peek(0).filter(|&c| c != '\n') {
            text.push(c);
            self.step();
        }
        self.found.comments.push((line, text.trim().to_owned()));
    }

    fn redirection(&mut self, depth: usize) {
        let first = self.step();
        if self.peek(0) == Some('(') {
            self.step();
            if depth < DEEPEST {
                self.commands(Some(')'), depth + 1);
                self.step();
            }
            return;
        }
        if first == Some('<') && self.peek(0) == Some('<') {
            self.step();
            if self.peek(0) == Some('<') {
                self.step();
            } else {
                let tabs = self.peek(0) == Some('-');
                if tabs {
                    self.step();
                }
                self.blanks();
                let word = self.word(None, depth);
                let quoted = word.contains(['"', '\'', '\\']);
                self.heredocs.push((word.replace(['"', '\'', '\\'], ""), quoted, tabs));
                return;
            }
        }
        while self.peek(0).is_some_and(|c| "<>&|".contains(c)) {
            self.step();
        }
        self.blanks();
        if self.peek(0).is_some_and(|c| c != '<' && c != '>') {
            let word = self.word(None, depth);
            self.found.words.push(word);
        }
    }

    fn blanks(&mut self) {
        while self.peek(0).is_some_and(|c| c == ' ' || c == '\t') {
            self.step();
        }
    }

    fn skip_heredocs(&mut self) {
        for (end, quoted, tabs) in std::mem::take(&mut self.heredocs) {
            while self.at < self.text.len() {
                let line = self.line;
                let mut text = String::new();
                while let Some(c) = self.step().filter(|&c| c != '\n') {
                    text.push(c);
                }
                if (if tabs { text.trim_start_matches('\t') } else { &text }) == end {
                    break;
                }
                if !quoted {
                    for part in text.split('$').skip(1) {
                        let name = name_of(part.trim_start_matches('{'));
                        if !name.is_empty() {
                            self.found.uses.push((line, name.to_owned()));
                        }
                    }
                }
            }
        }
    }

    /// One word as written, up to a blank or an operator outside quotes.
    fn word(&mut self, until: Option<char>, depth: usize) -> String {
        let from = self.at;
        while let Some(c) = self.peek(0) {
            match c {
                '\\' => {
                    self.step();
                    self.step();
                }
                '\'' => self.single(),
                '"' => self.double(depth),
                '$' => self.dollar(depth),
                '`' if until == Some('`') => break,
                '`' => self.backticks(depth),
                '(' if self.at > from && "=@?*+!".contains(self.text[self.at - 1]) => {
                    // An array's elements, or an extended pattern: words that belong to this one.
                    self.step();
                    while self.peek(0).is_some_and(|c| c != ')') {
                        match self.peek(0) {
                            Some('#') if self.text[self.at - 1].is_whitespace() => self.comment(),
                            Some('|' | ';' | '&' | '<' | '>' | '(') => drop(self.step()),
                            Some(c) if c.is_whitespace() => drop(self.step()),
                            _ => {
                                let before = self.at;
                                let word = self.word(None, depth);
                                self.found.words.push(word);
                                if self.at == before {
                                    self.step();
                                }
                            }
                        }
                    }
                    self.step();
                }
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                _ => drop(self.step()),
            }
        }
        self.text[from..self.at.min(self.text.len())].iter().collect()
    }

    fn single(&mut self) {
        self.step();
        while self.step().is_some_and(|c| c != '\'') {}
    }

    fn double(&mut self, depth: usize) {
        self.step();
        while let Some(c) = self.peek(0) {
            match c {
                '"' => break,
                '\\' => {
                    self.step();
                    self.step();
                }
                '$' => self.dollar(depth),
                '`' => self.backticks(depth),
                _ => drop(self.step()),
            }
        }
        self.step();
    }

    fn backticks(&mut self, depth: usize) {
        self.step();
        if depth < DEEPEST {
            self.commands(Some('`'), depth + 1);
        }
        self.step();
    }

    fn dollar(&mut self, depth: usize) {
        let line = self.line;
        self.step();
        match self.peek(0) {
            Some('(') if self.peek(1) == Some('(') => {
                self.step();
                self.step();
                self.arithmetic();
            }
            Some('(') => {
                self.step();
                if depth < DEEPEST {
                    self.commands(Some(')'), depth + 1);
                }
                self.step();
            }
            Some('{') => {
                self.step();
                while self.peek(0).is_some_and(|c| c == '!' || c == '#') {
                    self.step();
                }
                let name = self.name();
                let after = if self.peek(0) == Some(':') { self.peek(1) } else { self.peek(0) };
                match after {
                    Some('=') => {
                        self.found.sets.push((line, name.clone()));
                        self.found.guarded.push((line, name));
                    }
                    Some('-' | '+' | '?') => self.found.guarded.push((line, name)),
                    _ => self.used(line, name),
                }
                while let Some(c) = self.peek(0) {
                    match c {
                        '}' => break,
                        '\\' => {
                            self.step();
                            self.step();
                        }
                        '\'' => self.single(),
                        '"' => self.double(depth),
                        '$' => self.dollar(depth),
                        '`' => self.backticks(depth),
                        _ => drop(self.step()),
                    }
                }
                self.step();
            }
            Some('\'') => {
                self.step();
                while let Some(c) = self.step() {
                    match c {
                        '\\' => drop(self.step()),
                        '\'' => break,
                        _ => {}
                    }
                }
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                self.used(line, name);
            }
            Some(_) if self.peek(0) != Some('"') => drop(self.step()),
            _ => {}
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek(0).filter(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            self.step();
        }
        name
    }

    fn used(&mut self, line: u32, name: String) {
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            self.found.uses.push((line, name));
        }
    }

    /// The inside of `((…))`, up to and with its end.
    fn arithmetic(&mut self) {
        let mut open = 0;
        while let Some(c) = self.peek(0) {
            match c {
                '(' => open += 1,
                ')' if open == 0 => {
                    self.step();
                    break;
                }
                ')' => open -= 1,
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let line = self.line;
                    let name = self.name();
                    self.found.sets.push((line, name.clone()));
                    self.used(line, name);
                    continue;
                }
                _ => {}
            }
            self.step();
        }
        if self.peek(0) == Some(')') {
            self.step();
        }
    }
}

/// A word that bash reads back as `text`.
pub fn quote(text: &str) -> String {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./:+,@%".contains(&b)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(text: &str) -> Vec<String> {
        Script::new(text)
            .commands
            .iter()
            .map(|command| format!("{}:{}", command.line, command.words.join(" ")))
            .collect()
    }

    fn names(list: &[(u32, String)]) -> Vec<&str> {
        list.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn commands_are_found_wherever_they_stand() {
        let text = "A=1 make -j \"$N\" \\\n\t-C x\nif grep -q x y; then echo a | sort; fi\n\
                    case \"$1\" in\n-j1 | -k) first ;;\n(b) second;;\n*)\n\tthird ;;\nesac\nx=$(cat <<<\"$(inner)\")\n( sub )\nf() { body; }\n";
        assert_eq!(
            commands(text),
            [
                "1:make -j \"$N\" -C x",
                "3:grep -q x y",
                "3:echo a",
                "3:sort",
                "5:first",
                "6:second",
                "8:third",
                "10:inner",
                "10:cat",
                "11:sub",
                "12:body"
            ]
        );
        assert!(Script::new(text).functions.contains("f"));
    }

    #[test]
    fn variables_are_told_from_text() {
        let text = "A=1\nB+=(\"$C\" ${D:-$E} '$F' \\$G)\nlocal h i=$J\nfor k in $L; do :; done\nread -r m n < \"$O\"\n: \"${P:=q}\"\n((r += 1))\n# $S\n";
        let script = Script::new(text);
        assert_eq!(names(&script.uses), ["C", "E", "J", "L", "O", "r"]);
        assert_eq!(names(&script.guarded), ["D", "P"]);
        assert_eq!(names(&script.sets), ["A", "B", "h", "i", "k", "m", "n", "P", "r"]);
        assert_eq!(script.comments, [(8, "$S".to_owned())]);
    }

    #[test]
    fn here_documents_are_text_and_a_broken_end_does_no_harm() {
        let script = Script::new("cat <<-END > \"$A\"\n\tdeply $B ${C}\n\tEND\ncat << 'E'\n$D\nE\nlast\n");
        assert_eq!(names(&script.uses), ["A", "B", "C"]);
        assert_eq!(script.commands.last().map(|command| command.line), Some(7));
        for broken in [
            "x=\"a",
            "$(",
            "`",
            "${",
            "a=(",
            "))",
            "case x in",
            "<<",
            "$((",
            "'",
            "\\",
            "esac",
            "f() {",
            "for",
            "[[ a < b && ( c ) ]]",
        ] {
            drop(Script::new(broken));
        }
        drop(Script::new(&"$(".repeat(5000)));
    }

    #[test]
    fn assignments_are_told_from_other_words() {
        assert_eq!(assignment("A=b c"), Some(("A", "b c")));
        assert_eq!(assignment("A[1]+=b"), Some(("A", "b")));
        assert_eq!(assignment("--x=y"), None);
        assert_eq!(assignment("1A=y"), None);
    }

    #[test]
    fn quoting_survives_bash() {
        for text in ["", "plain", "it's", "a b$c`d`\\", "x\ny", "*", "ä"] {
            let out = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {}", quote(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), text);
        }
    }
}
