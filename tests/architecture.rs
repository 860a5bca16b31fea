//! Holds the direction of imports: lower modules know nothing of higher ones, so no module reaches itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Modules that are one layer: the command line knows every command, and commands take what was typed as it defines it.
const ONE_LAYER: (&str, &str) = ("command", "cli");

/// Which modules each module names, tests left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in walkdir::WalkDir::new(&src)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
    {
        let path = entry.path().strip_prefix(&src).unwrap();
        let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.strip_suffix(".rs").unwrap_or(&first);
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let module = if module == ONE_LAYER.1 { ONE_LAYER.0 } else { module };
        let named = named(&fs_err::read_to_string(entry.path()).unwrap());
        let named =
            named.into_iter().map(|name| if name == ONE_LAYER.1 { ONE_LAYER.0.to_owned() } else { name });
        found.entry(module.to_owned()).or_default().extend(named.filter(|name| name != module));
    }
    found
}

/// Modules of this crate that a source text names, as `crate::NAME` or in `crate::{NAME, NAME::…}`.
fn named(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n")
        .collect();
    let ident = |text: &str| {
        text.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("").to_owned()
    };
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(ident(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    found.insert(ident(&group[start..i]));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(ident(&group[start..i]));
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn names_are_found_in_every_form_of_use() {
    let text = "use crate::a;\nuse crate::b::C;\nuse crate::{d, e::{F, g}, h};\n// crate::no\nfn x() { crate::i::j() }\n#[cfg(test)]\nuse crate::no;";
    assert_eq!(named(text).into_iter().collect::<String>(), "abdehi");
}

#[test]
fn no_module_knows_one_that_knows_it() {
    let imports = imports();
    for start in imports.keys() {
        let mut paths = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop() {
            for next in imports.get(path[path.len() - 1]).into_iter().flatten() {
                assert_ne!(next, start, "modules know each other: {path:?}");
                if seen.insert(next) {
                    paths.push(path.iter().copied().chain([next]).collect());
                }
            }
        }
    }
}

#[test]
fn the_environment_is_read_where_what_was_typed_becomes_settings() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in walkdir::WalkDir::new(&src)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
    {
        let name = entry.path().strip_prefix(&src).unwrap().display().to_string();
        let text = fs_err::read_to_string(entry.path()).unwrap();
        let code: String = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").collect();
        assert!(
            ["cli.rs", "main.rs"].contains(&name.as_str()) || !code.contains("env::var"),
            "src/{name} reads the environment"
        );
    }
}
