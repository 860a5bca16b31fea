//! Puts layers together where the kernel does not: by hard link, or by copy where links are not possible.
//! Knows files alone.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::store::remove_tree;

/// Lays `from` over `to`, which is made where it is missing: files are hard links, what is in the way is replaced,
/// overlay whiteouts remove. File systems that cannot link get copies.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    lay(from, to, &|from, to| match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => copy_file(from, to),
    })
}

/// Lays a copy of `from` over `to`, with times and modes, for steps that write into it.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    lay(from, to, &copy_file)
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    // std's copy clones the blocks where the file system can.
    fs_err::copy(from, to)?;
    let meta = fs_err::metadata(from)?;
    let file = fs_err::OpenOptions::new().write(true).open(to);
    if let Ok(file) = file {
        file.into_parts().0.set_modified(meta.modified()?)?;
    }
    Ok(())
}

fn lay(from: &Path, to: &Path, file: &dyn Fn(&Path, &Path) -> Result<()>) -> Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.map_err(|error| Error::new(Kind::Host, error.to_string()))?;
        let relative = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let target = if relative.as_os_str().is_empty() { to.to_owned() } else { to.join(relative) };
        let there = std::fs::symlink_metadata(&target).ok();
        let kind = entry.file_type();
        if kind.is_dir() {
            if there.as_ref().is_some_and(|meta| !meta.is_dir()) {
                fs_err::remove_file(&target)?;
            }
            fs_err::create_dir_all(&target)?;
            continue;
        }
        if there.is_some() {
            remove_tree(&target)?;
        }
        if kind.is_char_device() {
            continue;
        }
        if kind.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(entry.path())?, &target)?;
        } else {
            file(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Makes `view` a folder of symbolic links into layers, the first the lowest: what a room shows as one, for people to look at.
pub fn show_layers(layers: &[PathBuf], view: &Path) -> Result<()> {
    remove_tree(view)?;
    fs_err::create_dir_all(view)?;
    for layer in layers {
        lay(layer, view, &|from, to| Ok(fs_err::os::unix::fs::symlink(from, to)?))?;
    }
    Ok(())
}

/// Makes `view` a symbolic link to `target`, in one step, unless it is that already.
pub fn link_view(target: &Path, view: &Path) -> Result<()> {
    if std::fs::read_link(view).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if view.is_dir() && !view.is_symlink() {
        remove_tree(view)?;
    }
    let name = view.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fresh = view.with_file_name(format!("{UNFINISHED}{}-{name}", std::process::id()));
    let _ = fs_err::remove_file(&fresh);
    fs_err::os::unix::fs::symlink(target, &fresh)?;
    Ok(fs_err::rename(&fresh, view)?)
}

/// How the names of views that have not their own name yet begin; the id of the process that makes them follows.
const UNFINISHED: &str = ".new-";

/// Removes what [`link_view`] left in `folder` when its process was killed.
pub fn sweep_views(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(UNFINISHED).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}

/// What a folder held: for each path below it, inode, size and modification time.
#[derive(Debug, Default)]
pub struct Snapshot(HashMap<PathBuf, (u64, u64, i64, i64)>);

impl Snapshot {
    /// Looks at everything below `root`; a folder that is missing holds nothing.
    pub fn of(root: &Path) -> Snapshot {
        let mut found = HashMap::new();
        for entry in walkdir::WalkDir::new(root).min_depth(1).into_iter().flatten() {
            if let (Ok(meta), Ok(relative)) =
                (entry.path().symlink_metadata(), entry.path().strip_prefix(root))
            {
                if !meta.is_dir() {
                    found.insert(
                        relative.to_owned(),
                        (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()),
                    );
                }
            }
        }
        Snapshot(found)
    }

    /// Moves what is new or replaced below `root` to `into`, and says which file was written in place: since it is a
    /// hard link, another package's result was changed with it.
    pub fn take_additions(&self, root: &Path, into: &Path) -> Result<Option<PathBuf>> {
        let mut damaged = None;
        let mut now: Vec<_> = Snapshot::of(root).0.into_iter().collect();
        now.sort();
        for (path, stat) in now {
            match self.0.get(&path) {
                Some(before) if *before == stat => continue,
                Some(before) if before.0 == stat.0 => damaged = Some(path),
                _ => {
                    let target = into.join(&path);
                    if let Some(parent) = target.parent() {
                        fs_err::create_dir_all(parent)?;
                    }
                    fs_err::rename(root.join(&path), target)?;
                }
            }
        }
        Ok(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_linked_and_additions_are_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, to, out) =
            (dir.path().join("a"), dir.path().join("b"), dir.path().join("to"), dir.path().join("out"));
        fs_err::create_dir_all(a.join("include")).unwrap();
        fs_err::create_dir_all(b.join("include/sub")).unwrap();
        fs_err::write(a.join("include/x.h"), "a").unwrap();
        fs_err::write(b.join("include/x.h"), "b").unwrap();
        fs_err::write(b.join("include/sub/y.h"), "y").unwrap();
        link_tree(&a, &to).unwrap();
        link_tree(&b, &to).unwrap();
        assert_eq!(fs_err::read_to_string(to.join("include/x.h")).unwrap(), "b");
        let before = Snapshot::of(&to);
        fs_err::create_dir_all(&out).unwrap();
        fs_err::write(to.join("include/new.h"), "new").unwrap();
        assert_eq!(before.take_additions(&to, &out).unwrap(), None);
        assert!(out.join("include/new.h").is_file() && !out.join("include/x.h").exists());
        fs_err::write(to.join("include/sub/y.h"), "changed").unwrap();
        assert_eq!(before.take_additions(&to, &out).unwrap(), Some("include/sub/y.h".into()));
    }
}
