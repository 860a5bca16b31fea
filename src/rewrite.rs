//! Changes values in a recipe's text and nothing else, and shows what changed. Knows `plain` and `error`; it reads as much
//! of bash, or of make, as plain assignments need and refuses the rest.

use std::ops::Range;

use crate::error::{Error, Kind, Result};
use crate::plain::is_makefile;

/// Replaces the value of the one plain assignment to `name` at the recipe's top level: a word that begins a line, bare or
/// in quotes, without `$` or a backtick; in a makefile, the rest of the line. `old` is what the value must be, its words
/// parted in whatever way.
pub fn assign(recipe: &str, text: &str, name: &str, old: &str, new: &str) -> Result<String> {
    let wrong = |what: &str, line: usize| {
        let error = Error::new(Kind::Recipe, format!("{recipe}: {what}"));
        if line > 0 { error.at(format!("{recipe}:{line}")) } else { error }
    };
    let makefile = is_makefile(text);
    let mut found = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let sets = |line: &str| operator(line.strip_prefix(name)?, makefile);
        let value = sets(line).filter(|(_, appends)| !appends);
        let number = text[..start].matches('\n').count() + 1;
        let again = value.is_none() && sets(line.trim_start()).is_some();
        if sets(line).is_some_and(|(_, appends)| appends) {
            return Err(wrong(&format!("{name} is appended to, so it cannot be changed by program"), number));
        }
        // Inside a function or a condition; which of them counts is for a person to say.
        if again && found.is_some() {
            return Err(wrong(&format!("{name} is set more than once"), number));
        }
        if let Some((length, _)) = value {
            if found.is_some() {
                return Err(wrong(&format!("{name} is set more than once"), number));
            }
            found = Some((start + name.len() + length, number));
        }
        start += line.len();
    }
    let Some((at, number)) = found else {
        return Err(wrong(&format!("{name} is not set at the start of a line"), 0));
    };
    let place = if makefile { rest_of_line(text, at) } else { value_at(text, at) };
    let place = place.ok_or_else(|| {
        wrong(&format!("{name} is not set to a plain word, so it cannot be changed by program"), number)
    })?;
    // A backslash joins lines of a makefile.
    let words = |text: &str| {
        text.split_whitespace().filter(|word| *word != "\\").map(str::to_owned).collect::<Vec<_>>()
    };
    if words(&text[place.clone()]) != words(old) {
        return Err(wrong(&format!("{name} is `{}` here, but `{old}` in the end", &text[place]), number)
            .hint("something after this line changes it"));
    }
    Ok([&text[..place.start], new, &text[place.end..]].concat())
}

/// How long the operator is, with white space around it, that a text begins with, and whether it appends.
fn operator(text: &str, makefile: bool) -> Option<(usize, bool)> {
    let space =
        |text: &str| if makefile { text.len() - text.trim_start_matches([' ', '\t']).len() } else { 0 };
    let before = space(text);
    let operators: &[&str] = if makefile { &["+=", "::=", ":=", "?=", "="] } else { &["+=", "="] };
    let operator = operators.iter().find(|operator| text[before..].starts_with(**operator))?;
    let end = before + operator.len();
    Some((end + space(&text[end..]), *operator == "+="))
}

/// Where the value at `at` of a makefile is, up to a comment; `None` unless it means just what it says.
fn rest_of_line(text: &str, at: usize) -> Option<Range<usize>> {
    let mut end = at;
    for line in text[at..].split_inclusive('\n') {
        end += line.len();
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    let value = text[at..end].split('#').next().unwrap_or_default().trim_end();
    (!value.contains('$')).then_some(at..at + value.len())
}

/// Where the value at `at` is, without its quotes; `None` unless it stands alone and means just what it says.
fn value_at(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let (place, after) = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let length = rest[1..].find(quote)?;
            (at + 1..at + 1 + length, at + length + 2)
        }
        _ => {
            let length =
                rest.find(|c: char| c.is_whitespace() || ";#&|()<>".contains(c)).unwrap_or(rest.len());
            (at..at + length, at + length)
        }
    };
    let plain = !text[place.clone()].contains(['$', '`', '\\', '"', '\'']);
    // What follows at once would belong to the word, or make the assignment one command's own.
    let line = text[after..].split('\n').next().unwrap_or_default();
    let alone = line.trim().is_empty()
        || line.starts_with([' ', '\t']) && line.trim_start().starts_with('#')
        || line.starts_with(';');
    (plain && alone).then_some(place)
}

/// Lines of context around a change.
const CONTEXT: usize = 3;

/// A unified diff of two texts; nothing where they are equal. `path` is what it calls both.
pub fn diff(path: &str, old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    // The longest row of equal lines from each pair of places on. Recipes are short.
    let mut longest = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = if a[i] == b[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    // Each line with its mark, and how many lines of either text come before it.
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((' ', a[i], i, j));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(('-', a[i], i, j));
            i += 1;
        } else {
            lines.push(('+', b[j], i, j));
            j += 1;
        }
    }
    let changed: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].0 != ' ').collect();
    let mut hunks: Vec<Range<usize>> = Vec::new();
    for at in changed {
        let (start, end) = (at.saturating_sub(CONTEXT), (at + CONTEXT + 1).min(lines.len()));
        match hunks.last_mut() {
            Some(hunk) if hunk.end >= start => hunk.end = end,
            _ => hunks.push(start..end),
        }
    }
    let mut text = String::new();
    if !hunks.is_empty() {
        text = format!("--- a/{path}\n+++ b/{path}\n");
    }
    for hunk in hunks {
        let part = &lines[hunk];
        let count = |without: char| part.iter().filter(|line| line.0 != without).count();
        let (olds, news) = (count('+'), count('-'));
        let first = |place: usize, count: usize| if count == 0 { place } else { place + 1 };
        text.push_str(&format!(
            "@@ -{},{olds} +{},{news} @@\n",
            first(part[0].2, olds),
            first(part[0].3, news)
        ));
        for (mark, line, ..) in part {
            text.push(*mark);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str) -> String {
        assign("pkg/x/build", text, "VERSION", "1.2", "1.3").unwrap()
    }

    fn refused(text: &str) -> String {
        assign("pkg/x/build", text, "VERSION", "1.2", "1.3").unwrap_err().message
    }

    #[test]
    fn only_the_value_changes() {
        assert_eq!(
            changed("# VERSION=1.2\nVERSION=\"1.2\" # as 1.2\r\nX=1.2"),
            "# VERSION=1.2\nVERSION=\"1.3\" # as 1.2\r\nX=1.2"
        );
        assert_eq!(changed("VERSION='1.2'"), "VERSION='1.3'");
        assert_eq!(changed("A=1\nVERSION=1.2; B=2\n"), "A=1\nVERSION=1.3; B=2\n");
    }

    #[test]
    fn a_value_of_several_lines_is_replaced_as_a_whole() {
        let text = "S=\"aa\n\tbb\"\nrest\n";
        assert_eq!(assign("r", text, "S", "aa bb", "cc").unwrap(), "S=\"cc\"\nrest\n");
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        assert!(refused("VERSION=\"$MAJOR.2\"\n").contains("plain word"));
        assert!(refused("VERSION=1.\"2\"\n").contains("plain word"));
        assert!(refused("VERSION=1.2 make\n").contains("plain word"));
        assert!(refused("VERSION=\"1.2\n").contains("plain word"));
        assert!(refused("VERSION=1.2\nVERSION=1.2\n").contains("more than once"));
        assert!(refused("VERSION=1.2\nif x; then\n\tVERSION=1.2\nfi\n").contains("more than once"));
        assert!(refused("VERSION=1\nVERSION+=.2\n").contains("appended"));
        assert!(refused("\tVERSION=1.2\n").contains("not set at the start"));
        assert!(refused("VERSION=1.1\n").contains("`1.2` in the end"));
    }

    #[test]
    fn in_a_makefile_the_value_is_the_rest_of_the_line() {
        let head = "#! /usr/bin/make -f\n";
        for (old, new) in [
            ("VERSION = 1.2\nX = 1.2\n", "VERSION = 1.3\nX = 1.2\n"),
            ("VERSION:=1.2 # as before\n", "VERSION:=1.3 # as before\n"),
            ("VERSION\t?=  1.2", "VERSION\t?=  1.3"),
        ] {
            assert_eq!(changed(&format!("{head}{old}")), format!("{head}{new}"));
        }
        let text = format!("{head}S = aa \\\n\tbb\nrest:\n");
        assert_eq!(assign("r", &text, "S", "aa bb", "cc").unwrap(), format!("{head}S = cc\nrest:\n"));
        assert!(refused(&format!("{head}VERSION = $(MAJOR).2\n")).contains("plain word"));
        assert!(refused(&format!("{head}VERSION = 1\nVERSION += .2\n")).contains("appended"));
        assert!(refused(&format!("{head}VERSION = 1.2\nVERSION = 1.2\n")).contains("more than once"));
    }

    #[test]
    fn the_diff_is_one_that_patch_reads() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\nlast";
        let new = "1\ntwo\n3\n4\n5\n6\n7\n8\n9\nend";
        let text = diff("pkg/x/build", old, new);
        assert_eq!(text.lines().next(), Some("--- a/pkg/x/build"));
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("pkg/x")).unwrap();
        fs_err::write(folder.path().join("pkg/x/build"), old).unwrap();
        duct::cmd!("patch", "-s", "-p1").dir(folder.path()).stdin_bytes(text).run().unwrap();
        assert_eq!(fs_err::read_to_string(folder.path().join("pkg/x/build")).unwrap(), new);
        assert_eq!(diff("x", old, old), "");
    }
}
