//! Texts of recipes and of what lies beside them, as they are on disk; line ends and paths in them. Knows `disk`; asks no bash.

use std::path::Path;

use crate::disk::link_into;

/// The texts of small files in a package's folder, but for the recipe, and of those in the tree that links in it lead to:
/// what its steps may source or run.
pub fn texts_below(folder: &Path, tree: &Path) -> Vec<String> {
    let files = |folder: &Path| walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    let all = files(folder).filter(|entry| entry.depth() != 1 || entry.file_name() != "build");
    all.flat_map(|entry| {
        let there = if entry.path_is_symlink() { link_into(entry.path(), tree) } else { None };
        there.map_or_else(|| vec![entry], |there| files(&there).collect())
    })
    .filter(|entry| entry.file_type().is_file())
    .filter(|entry| entry.metadata().is_ok_and(|meta| meta.len() < 256 * 1024))
    .filter_map(|entry| text_of(entry.path()))
    .collect()
}

/// Whether a folder holds nothing but the recipe.
pub fn is_alone(folder: &Path) -> bool {
    fs_err::read_dir(folder)
        .is_ok_and(|mut all| all.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "build")))
}

/// What is in a file, in whatever encoding; `None` where there is none, or what it holds is no text.
pub fn text_of(path: &Path) -> Option<String> {
    let bytes = fs_err::read(path).ok()?;
    (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// A recipe's text with plain line ends, where every line of it ends in carriage return and newline.
pub fn without_carriage_returns(text: &str) -> Option<String> {
    text.split_once('\n').filter(|(first, _)| first.ends_with('\r'))?;
    Some(text.replace("\r\n", "\n"))
}

/// Puts `to` in place of the path `from`, but not of the beginning of a longer name: `/tree/x`, not `/trees`.
pub fn replace_path(text: &str, from: &str, to: &str) -> String {
    let goes_on = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || "._-+@".contains(c));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(from) {
        out.push_str(before);
        out.push_str(if goes_on(after) { from } else { to });
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_replaced_and_one_that_begins_like_it_is_not() {
        let of = |text| replace_path(text, "/a/t", "/mk/tree");
        assert_eq!(of("/a/t /a/t/x -I/a/t:/a/t"), "/mk/tree /mk/tree/x -I/mk/tree:/mk/tree");
        assert_eq!(of("/a/tool file:///a/t-1/x /a/t.d"), "/a/tool file:///a/t-1/x /a/t.d");
    }
}
