//! Which archives of a download folder `mk` itself has fetched, so that cleaning touches no other. Knows `digest`, `names` and how to write a file whole.
//!
//! `<download>/.mk-fetched` has a line for each: `DIGEST PACKAGE FILE`, with `-` for a digest while it is not whole.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::Result;
use crate::names::PackageName;
use crate::store::write_atomically;

/// One archive that was fetched, whatever its recipe expects, or whose fetching was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its digest; none while it is not whole.
    pub digest: Option<Digest>,
    /// Whose archive it was when it was fetched.
    pub package: PackageName,
    /// Its file name.
    pub file: String,
}

impl Record {
    fn parse(line: &str) -> Option<Record> {
        let (digest, rest) = line.split_once(' ')?;
        let (package, file) = rest.split_once(' ')?;
        let digest = if digest == "-" { None } else { Some(digest.parse().ok()?) };
        let plain = !file.is_empty() && !file.starts_with('.') && !file.contains('/');
        plain.then_some(Record { digest, package: PackageName::new(package).ok()?, file: file.to_owned() })
    }

    fn line(&self) -> String {
        let digest = self.digest.map_or("-".to_owned(), |digest| digest.to_string());
        format!("{digest} {} {}\n", self.package, self.file)
    }
}

fn ledger(dir: &Path) -> PathBuf {
    dir.join(".mk-fetched")
}

/// Writes down that an archive comes, or came, from where its recipe says.
pub fn remember(dir: &Path, record: &Record) -> Result<()> {
    if !records(dir).contains(record) {
        // One short write at the end: several processes do not mix their lines.
        let mut file = fs_err::OpenOptions::new().append(true).create(true).open(ledger(dir))?;
        file.write_all(record.line().as_bytes())?;
    }
    Ok(())
}

/// All that was written down; lines that make no sense are passed over.
pub fn records(dir: &Path) -> Vec<Record> {
    fs_err::read_to_string(ledger(dir)).unwrap_or_default().lines().filter_map(Record::parse).collect()
}

/// Takes files out of what was written down.
pub fn forget(dir: &Path, files: &[String]) -> Result<()> {
    let left: String =
        records(dir).iter().filter(|record| !files.contains(&record.file)).map(Record::line).collect();
    if left.is_empty() {
        if ledger(dir).exists() {
            fs_err::remove_file(ledger(dir))?;
        }
        return Ok(());
    }
    write_atomically(&ledger(dir), left.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_back_once_and_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let record = |digest, file: &str| Record {
            digest,
            package: PackageName::new("zlib").unwrap(),
            file: file.to_owned(),
        };
        let (begun, whole) = (record(None, "a.tar"), record(Some(Digest::of("a")), "a.tar"));
        let other = record(Some(Digest::of("b")), "b.tar");
        for each in [&begun, &whole, &whole, &other] {
            remember(dir.path(), each).unwrap();
        }
        assert_eq!(records(dir.path()), [begun, whole, other.clone()]);
        forget(dir.path(), &["a.tar".to_owned()]).unwrap();
        assert_eq!(records(dir.path()), [other]);
        forget(dir.path(), &["b.tar".to_owned()]).unwrap();
        assert!(dir.path().read_dir().unwrap().next().is_none());
    }

    #[test]
    fn lines_that_would_lead_elsewhere_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(ledger(dir.path()), "- zlib ../x\n- zlib .x\nnonsense\n- -x y\n- zlib \n").unwrap();
        assert_eq!(records(dir.path()), []);
    }
}
