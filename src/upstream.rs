//! Asks upstream's folder, or its feed of releases, for newer versions of an archive. Knows `listing` and `version`;
//! nothing of recipes' own ways to ask.

use std::io::Read;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::blocking::Client;

use crate::error::{Error, Kind, Result};
use crate::fetch::{innermost, is_plain};
use crate::listing::{self, Shape, Versioned};
use crate::version;

/// No listing is longer, in bytes.
const LONGEST: u64 = 32 << 20;
/// Newer folders that are looked into, newest first: the newest may hold nothing but release candidates.
const FOLDERS: usize = 3;

/// A version and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newer {
    /// The version.
    pub version: String,
    /// The URL of its archive, its folder or its page.
    pub found: String,
}

/// Why nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is nothing to ask.
    Unlisted(String),
    /// Asking failed.
    Failed(String),
}

/// Asks servers. Costs nothing until something is asked; may be used by several threads at once.
#[derive(Debug, Default)]
pub struct Upstream {
    client: Mutex<Option<Client>>,
}

/// One package's questions.
struct Question<'a> {
    upstream: &'a Upstream,
    version: &'a str,
    file: &'a str,
    deadline: Instant,
}

impl Upstream {
    /// The newest version that follows `version` of the archive `file` among what the folders `urls` list; the first
    /// URL whose listing holds any such name decides. `None`: nothing newer. Takes no longer than about `limit`.
    pub fn newer(
        &self,
        version: &str,
        file: &str,
        urls: &[String],
        limit: Duration,
    ) -> Result<Option<Newer>, Unknown> {
        if version.is_empty() {
            return Err(Unknown::Unlisted("VERSION is not set".to_owned()));
        }
        let question = Question { upstream: self, version, file, deadline: Instant::now() + limit };
        let mut failures = Vec::new();
        for url in urls.iter().filter(|url| is_plain(url)) {
            match question.ask(url) {
                Ok(newer) => return Ok(newer),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() {
            return Err(Unknown::Unlisted("no URL of it is a folder that could be listed".to_owned()));
        }
        failures.dedup();
        Err(Unknown::Failed(failures.join("; ")))
    }

    fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = Client::builder()
            .user_agent(concat!("mk/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::new(Kind::Host, format!("cannot use the network: {}", innermost(&e))))?;
        Ok(client.insert(made).clone())
    }

    /// The text of a page, whole.
    fn page(&self, url: &str, deadline: Instant) -> Result<String, String> {
        let failed = |why: &str| format!("`{url}`: {why}");
        let left = || deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        let late = || failed("no answer in time");
        let transport = |e: &reqwest::Error| if e.is_timeout() { late() } else { failed(&innermost(e)) };
        let parsed = Url::parse(url).map_err(|e| failed(&e.to_string()))?;
        let client = self.client().map_err(|e| e.message)?;
        let answer =
            client.get(parsed).timeout(left().ok_or_else(late)?).send().map_err(|e| transport(&e))?;
        if !answer.status().is_success() {
            return Err(failed(&format!("the server answered {}", answer.status())));
        }
        let mut answer = answer.take(LONGEST + 1);
        let mut text = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match answer.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let cause = e.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
                    let is_late = e.kind() == std::io::ErrorKind::TimedOut
                        || cause.is_some_and(reqwest::Error::is_timeout);
                    return Err(if is_late { late() } else { failed("the answer broke off") });
                }
            }
            if left().is_none() {
                return Err(late());
            }
        }
        if text.len() as u64 > LONGEST {
            return Err(failed("the answer is too long for a listing"));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The names in a folder.
    fn names(&self, folder: &str, deadline: Instant) -> Result<Vec<String>, String> {
        if !folder.starts_with("file:") {
            return Ok(listing::names(&self.page(&listing::address(folder), deadline)?));
        }
        let Some(path) = Url::parse(folder).ok().and_then(|url| url.to_file_path().ok()) else {
            return Err(format!("`{folder}`: it names no folder of this machine"));
        };
        let entries = fs_err::read_dir(path).map_err(|e| e.to_string())?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }
}

impl Question<'_> {
    /// What one URL knows. The error is a reason in plain words.
    fn ask(&self, url: &str) -> Result<Option<Newer>, String> {
        if let Some(feed) = listing::feed(url, self.file) {
            return self.ask_feed(&feed);
        }
        let shape = self.shape(self.file)?;
        if let Some(versioned) = listing::versioned(url, self.version) {
            return self.ask_folders(url, &versioned, &shape);
        }
        let known = self.known(url, &shape)?;
        if known.is_empty() { Err(self.nothing(url)) } else { Ok(self.newest(known)) }
    }

    fn shape(&self, name: &str) -> Result<Shape, String> {
        Shape::of(name, self.version)
            .ok_or_else(|| format!("`{name}` does not hold the version `{}`", self.version))
    }

    fn nothing(&self, url: &str) -> String {
        format!("`{url}`: nothing like `{}` is listed", self.file)
    }

    fn ask_feed(&self, feed: &listing::Feed) -> Result<Option<Newer>, String> {
        let shape = self.shape(&feed.tag)?;
        let mut failures = Vec::new();
        for url in &feed.urls {
            let names = match self.upstream.page(url, self.deadline) {
                Ok(page) => listing::names(&page),
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            let known: Vec<Newer> = names
                .iter()
                .filter_map(|tag| {
                    Some(Newer { version: shape.version(tag)?, found: format!("{}/{tag}", feed.page) })
                })
                .collect();
            if !known.is_empty() {
                return Ok(self.newest(known));
            }
            failures.push(format!("`{url}`: nothing like `{}` is listed", feed.tag));
        }
        Err(failures.join("; "))
    }

    /// Looks into the folder itself, and into newer ones beside it.
    fn ask_folders(&self, url: &str, place: &Versioned, shape: &Shape) -> Result<Option<Newer>, String> {
        let mut known = Vec::new();
        let mut failures = Vec::new();
        if !place.whole {
            match self.known(url, shape) {
                Ok(found) => known = found,
                Err(failure) => failures.push(failure),
            }
        }
        let mut folders: Vec<(String, String)> = match self.upstream.names(&place.parent, self.deadline) {
            Ok(names) => {
                names.into_iter().filter_map(|name| Some((place.shape.version(&name)?, name))).collect()
            }
            Err(failure) => {
                failures.push(failure);
                Vec::new()
            }
        };
        if folders.is_empty() && known.is_empty() {
            failures.push(self.nothing(&place.parent));
            return Err(failures.join("; "));
        }
        folders.retain(|(version, _)| version::follows(&place.version, version));
        for _ in 0..FOLDERS {
            let newest = (0..folders.len())
                .reduce(|a, b| if version::compare(&folders[b].0, &folders[a].0).is_gt() { b } else { a });
            let Some((version, name)) = newest.map(|at| folders.swap_remove(at)) else { break };
            let folder = format!("{}/{name}{}", place.parent, place.below);
            match self.known(&folder, shape) {
                Ok(found) => {
                    if let Some(newer) = self.newest(found) {
                        return Ok(Some(newer));
                    }
                }
                // That it is there says enough.
                Err(_) if place.whole => return Ok(Some(Newer { version, found: folder })),
                Err(_) => {}
            }
        }
        Ok(self.newest(known))
    }

    /// All versions in a folder.
    fn known(&self, folder: &str, shape: &Shape) -> Result<Vec<Newer>, String> {
        let folder = folder.trim_end_matches('/');
        let names = self.upstream.names(folder, self.deadline)?;
        Ok(names
            .into_iter()
            .filter_map(|name| {
                Some(Newer { version: shape.version(&name)?, found: format!("{folder}/{name}") })
            })
            .collect())
    }

    /// The newest that follows.
    fn newest(&self, known: Vec<Newer>) -> Option<Newer> {
        let following = known.into_iter().filter(|newer| version::follows(self.version, &newer.version));
        following.reduce(|a, b| if version::compare(&b.version, &a.version).is_gt() { b } else { a })
    }
}
