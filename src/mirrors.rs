//! Mirrors of upstream's servers, from `--mirror` and from the `MIRRORS` files of the configuration places: which
//! beginnings of URLs stand for which others. Knows `config` and `fetch`.

use std::path::PathBuf;

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::fetch::{self, Fetcher};

/// The beginning of URLs, and what is tried in its place before it, in order.
pub type Mirror = (String, Vec<String>);

/// Reads `PREFIX=URL`, as `--mirror` takes it.
pub fn parse_option(text: &str) -> std::result::Result<Mirror, String> {
    match text.split_once('=') {
        Some((prefix, url)) if !prefix.is_empty() && url.contains(':') => {
            Ok((prefix.to_owned(), vec![url.to_owned()]))
        }
        _ => Err("PREFIX=URL is expected, such as https://ftp.gnu.org/=https://mirror.example/".to_owned()),
    }
}

/// Those of the option first, then all `MIRRORS` files, most specific place first.
///
/// A line holds the beginning of URLs and its replacements, parted by spaces; `#` begins a comment.
pub fn read(option: &[Mirror], places: &[PathBuf]) -> Result<Vec<Mirror>> {
    let mut found = option.to_vec();
    for place in places {
        let path = place.join("MIRRORS");
        let text = match fs_err::read_to_string(&path) {
            Err(error)
                if [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory]
                    .contains(&error.kind()) =>
            {
                continue;
            }
            text => text?,
        };
        for (number, line) in text.lines().enumerate() {
            // A `#` inside a word belongs to a URL.
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let Some(prefix) = words.next() else { continue };
            let mirrors: Vec<String> = words.map(str::to_owned).collect();
            if mirrors.is_empty() {
                return Err(Error::new(Kind::Recipe, format!("`{prefix}` has no mirror"))
                    .at(format!("{}:{}", path.display(), number + 1))
                    .hint("a line of MIRRORS holds the beginning of URLs and what to try in its place"));
            }
            found.push((prefix.to_owned(), mirrors));
        }
    }
    Ok(found)
}

/// A fetcher that knows the mirrors.
pub fn fetcher(settings: &Settings, places: &[PathBuf]) -> Result<Fetcher> {
    let mirrors = read(&settings.mirrors, places)?;
    Ok(Fetcher::new(fetch::Settings { mirrors, ..fetch::Settings::default() }))
}
