//! Data for the caller, on standard output. Progress and messages are the report's and `main`'s.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Kind, Result, harmless};

/// Writes `text` as it is. A reader that has gone away (`mk … | head`) ends the program quietly.
pub fn data(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

/// The same for bytes of which nobody knows whether they are text.
#[allow(clippy::print_stdout, reason = "this is the one place that prints data")]
pub fn bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Error::new(Kind::Closed, "")),
        Err(error) => Err(refused(&error)),
    }
}

/// What is said where standard output takes no more.
pub fn refused(error: &std::io::Error) -> Error {
    Error::new(Kind::Host, format!("cannot write to standard output: {error}"))
}

/// Writes a value as one line of JSON.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    data(&(text + "\n"))
}

/// A path as JSON has it, which knows no other text than UTF-8: other bytes are replaced.
pub fn path(path: &Path) -> Cow<'_, str> {
    path.to_string_lossy()
}

/// The same, for a field.
pub fn serialize_path<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// Rows of cells with aligned columns; the last column is as long as it likes. Control characters are written out.
pub fn table(rows: &[Vec<String>]) -> String {
    let shown = |cell: &String| harmless(cell).replace('\n', "\\n").replace('\t', "\\t");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            if column + 1 < row.len() {
                line.push_str(&" ".repeat(widths[column] - cell.chars().count() + 2));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
