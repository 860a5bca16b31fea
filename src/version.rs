//! Version numbers as people write them: which of two is newer, and which are for trying out. Knows no other module.
//!
//! A version is a row of numbers and words; dots, dashes and underscores only part them, and what stands before the
//! first digit (`v`, `R_`, `release-`) doesn't count. At each place, in this order: a word that announces (`alpha`,
//! `beta`, `pre`, `rc`, or `~` before anything), nothing or 0, any other word (`1.1.1g`, `9.3p1`), a number.

use std::cmp::Ordering;

/// One number or word, in the order in which they compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Announces the version that stands before it; the later ones are nearer to it.
    Before(u8),
    /// Nothing, or the number 0.
    Nothing,
    /// A word that comes after what stands before it.
    After(String),
    /// A number: how many digits it has, and these, so that no length is too much.
    Number(usize, String),
}

/// Words that say nothing about the order: `2.1.12-stable` is `2.1.12`.
const NEUTRAL: &[&str] = &["stable", "final", "release", "ga"];

/// Words that stand for a correction, beside single letters.
const CORRECTIONS: &[&str] = &["p", "pl", "patch", "sp"];

/// How near to its version a word announces it; `None`: it doesn't. `numbered`: a digit follows at once.
fn announces(word: &str, numbered: bool) -> Option<u8> {
    Some(match word {
        "dev" | "devel" | "snapshot" | "nightly" | "git" => 1,
        "alpha" => 2,
        "a" if numbered => 2,
        "beta" => 3,
        "b" if numbered => 3,
        "test" | "pre" | "preview" => 4,
        "rc" | "c" if numbered || word == "rc" => 5,
        _ => return None,
    })
}

/// Runs of digits and of letters, and `~`, each with whether a digit follows at once.
fn runs(version: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut last = None;
    for c in version.chars() {
        let kind = match c {
            '0'..='9' => Some('0'),
            '~' => Some('~'),
            c if c.is_alphabetic() => Some('a'),
            _ => None,
        };
        if let Some(kind) = kind {
            match found.last_mut() {
                Some((run, _)) if last == Some(kind) => run.push(c.to_ascii_lowercase()),
                before => {
                    if let (Some((_, numbered)), Some(_), '0') = (before, last, kind) {
                        *numbered = true;
                    }
                    found.push((c.to_ascii_lowercase().to_string(), false));
                }
            }
        }
        last = kind;
    }
    found
}

fn parts(version: &str) -> Vec<Part> {
    let mut found = Vec::new();
    for (run, numbered) in runs(core(version)) {
        let part = match run.trim_start_matches('0') {
            "" => Part::Nothing,
            digits if digits.starts_with(|c: char| c.is_ascii_digit()) => {
                Part::Number(digits.len(), digits.to_owned())
            }
            _ if run == "~" => Part::Before(0),
            word if NEUTRAL.contains(&word) => continue,
            word => announces(word, numbered).map_or_else(|| Part::After(word.to_owned()), Part::Before),
        };
        if matches!(part, Part::Before(_)) {
            // `1.2-rc2` and `1.2.0-rc2` announce the same.
            while found.last() == Some(&Part::Nothing) {
                found.pop();
            }
        }
        found.push(part);
    }
    found
}

/// A version from its first digit on; all of it where it has none.
pub fn core(version: &str) -> &str {
    &version[version.find(|c: char| c.is_ascii_digit()).unwrap_or(0)..]
}

/// A version that keeps the rules of semantic versions, with which the other rules might not agree.
fn semantic(version: &str) -> Option<semver::Version> {
    let parsed = semver::Version::parse(version.strip_prefix(['v', 'V']).unwrap_or(version)).ok()?;
    // `rc10` would be less than `rc9` by them, and any word at all would announce.
    let plain = |part: &str| {
        part.bytes().all(|b| b.is_ascii_digit()) || part.bytes().all(|b| b.is_ascii_alphabetic())
    };
    let mut words = parsed.pre.split('.');
    let keeps = parsed.pre.is_empty()
        || words.clone().all(plain)
            && words.next().is_some_and(|word| announces(&word.to_lowercase(), false).is_some());
    keeps.then_some(parsed)
}

/// Which of two versions is newer: `Greater` when it is `a`. By the rules of semantic versions where both keep them.
pub fn compare(a: &str, b: &str) -> Ordering {
    if let (Some(a), Some(b)) = (semantic(a), semantic(b)) {
        return a.cmp_precedence(&b);
    }
    let (a, b) = (parts(a), parts(b));
    let at = |parts: &[Part], place: usize| parts.get(place).cloned().unwrap_or(Part::Nothing);
    (0..a.len().max(b.len()))
        .map(|place| at(&a, place).cmp(&at(&b, place)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Whether a version only announces another: an alpha, a beta, a release candidate.
pub fn is_preliminary(version: &str) -> bool {
    parts(version).iter().any(|part| matches!(part, Part::Before(_)))
}

/// Whether `next` is something to move to from `current`: newer, not preliminary unless `current` is, and no date
/// among plain numbers, as snapshots in a folder of releases have it.
pub fn follows(current: &str, next: &str) -> bool {
    let dated =
        |version: &str| matches!(parts(version).first(), Some(Part::Number(digits, _)) if *digits >= 8);
    compare(next, current).is_gt()
        && (!is_preliminary(next) || is_preliminary(current))
        && (!dated(next) || dated(current))
}

/// Whether `text` is a version of the kind that `like` is: it begins with a digit, and its words announce, correct,
/// or are among those of `like`. So `5.4.7-tests` is no version of what is at `5.4.4`.
pub fn is_like(text: &str, like: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+~".contains(c);
    if !text.starts_with(|c: char| c.is_ascii_digit())
        || !text.chars().all(plain)
        || text.ends_with(['.', '_', '-', '+'])
    {
        return false;
    }
    let known = runs(core(like));
    runs(text).iter().all(|(run, numbered)| {
        run.starts_with(|c: char| c.is_ascii_digit() || c == '~')
            || run.len() == 1
            || announces(run, *numbered).is_some()
            || NEUTRAL.contains(&run.as_str())
            || CORRECTIONS.contains(&run.as_str())
            || known.iter().any(|(word, _)| word == run)
    })
}
