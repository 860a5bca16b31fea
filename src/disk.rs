//! Files written and folders removed so that nothing is left half done. Knows only `error`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes beside the file and renames: it is there whole or as it was.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(|error| {
            Error::from(std::io::Error::new(
                error.kind(),
                format!("cannot write in `{}`: {error}", folder.display()),
            ))
        })?;
    file.write_all(content).map_err(|e| Error::from(e).context(format!("`{}`", path.display())))?;
    file.persist(path).map_err(|e| Error::from(e.error).context(format!("`{}`", path.display())))?;
    Ok(())
}

/// Removes a folder with all below it, also where folders are read only; nothing there is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(meta) if !meta.is_dir() => return Ok(fs_err::remove_file(path)?),
        _ => {}
    }
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let mut stack = vec![path.to_owned()];
            while let Some(folder) = stack.pop() {
                fs_err::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
                for entry in fs_err::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        stack.push(entry.path());
                    }
                }
            }
            Ok(fs_err::remove_dir_all(path)?)
        }
        Err(error) if gone(&error) => Ok(()),
        other => Ok(other?),
    }
}
