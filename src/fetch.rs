//! Gets one archive: tries its URLs in order, goes on where an earlier try broke off, and gives it its name
//! only once its digest fits. Knows `digest`, `disk`, `names`, `origin` and `archive`'s look at first bytes; nothing of
//! recipes, and nothing of what is in an archive.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use reqwest::{StatusCode, Url, blocking::Client};
use sha2::{Digest as _, Sha256};

use crate::archive::is_web_page;
use crate::digest::Digest;
use crate::disk::LockFile;
use crate::downloads;
use crate::error::{Error, Kind, Result};
use crate::names::PackageName;
use crate::origin::{self, LOOK, Lack};

/// How often a broken transfer from one URL is tried.
const TRIES: usize = 2;

/// What is the same for every archive.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Beginnings of URLs, each with what is put in its place and tried before the URL itself.
    pub mirrors: Vec<(String, Vec<String>)>,
    /// The program that `apt:` asks.
    pub apt_get: PathBuf,
    /// The program that `git+` asks.
    pub git: PathBuf,
    /// How long a server may take to accept a connection.
    pub connect: Duration,
    /// How long a server may send nothing.
    pub stall: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mirrors: Vec::new(),
            apt_get: "apt-get".into(),
            git: "git".into(),
            connect: origin::CONNECT,
            stall: origin::STALL,
        }
    }
}

/// One archive that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Whose archive it is, for messages.
    pub package: &'a PackageName,
    /// Its file name, `TARBALL`.
    pub file: &'a str,
    /// Complete URLs in the order in which they are tried: `http://`, `https://`, `file://`, `apt:SOURCE[=VERSION]`,
    /// `git+URL#COMMIT`.
    pub urls: &'a [String],
    /// Any of these is right.
    pub digests: &'a [Digest],
    /// The download folder; made when missing.
    pub dir: &'a Path,
    /// Whether the network must not be used; `file://` still is.
    pub offline: bool,
}

/// An archive that is there and right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest: one of those that were accepted.
    pub digest: Digest,
    /// The URL that it came from; none when it was already there.
    pub from: Option<String>,
    /// Something that the user should know.
    pub warning: Option<String>,
}

/// Gets archives. Costs nothing until something is fetched; may be used by several threads at once.
#[derive(Debug)]
pub struct Fetcher {
    settings: Settings,
    client: Mutex<Option<Client>>,
}

/// The URL of `file` in the folder `URL` of a recipe: with exactly one `/` between. `apt:` and `git+` URLs name
/// the archive themselves and stay as they are.
pub fn archive_url(folder: &str, file: &str) -> String {
    if folder.starts_with("apt:") || folder.starts_with("git+") {
        return folder.to_owned();
    }
    format!("{}/{file}", folder.trim_end_matches('/'))
}

/// Whether a URL names a file; others name what an archive is made from.
pub fn is_plain(url: &str) -> bool {
    ["http://", "https://", "file://"].iter().any(|scheme| url.starts_with(scheme))
}

/// Why an archive did not come from one URL.
enum Miss {
    /// In plain words.
    Reason(String),
    /// Like `Reason`, but it may go better when tried again.
    Broken(String),
    /// What came has the wrong digest.
    Mismatch(Digest),
    /// Nothing else need be tried.
    Stop(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Miss {
        Miss::Stop(error)
    }
}

impl From<io::Error> for Miss {
    fn from(error: io::Error) -> Miss {
        Miss::Stop(error.into())
    }
}

impl From<Lack> for Miss {
    fn from(lack: Lack) -> Miss {
        match lack {
            Lack::Reason(reason) => Miss::Reason(reason),
            Lack::Cancelled => Miss::Stop(stopped()),
            Lack::Io(error) => Miss::from(error),
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Interrupted(libc::SIGINT), "stopped while fetching")
}

/// One run of `Fetcher::fetch` or `Fetcher::fetch_new`.
struct Job<'a> {
    fetcher: &'a Fetcher,
    request: &'a Request<'a>,
    /// Whether the digest is to be found out.
    new: bool,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
    cancelled: &'a dyn Fn() -> bool,
}

impl Fetcher {
    /// A fetcher with these settings.
    pub fn new(settings: Settings) -> Fetcher {
        Fetcher { settings, client: Mutex::new(None) }
    }

    /// Gets the archive of a request, or finds it already there.
    ///
    /// What has the right name but the wrong digest is moved aside (`NAME.rejected`). What comes in is kept as
    /// `NAME.part` until it is whole and right, and gone on with by the next run. Of several processes that want the
    /// same file one fetches. `progress` takes the bytes so far and in all, where that is known, a few times a second;
    /// once `cancelled` says so, the error is `Kind::Interrupted`. Every other error names each URL with its reason.
    pub fn fetch(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(u64, Option<u64>),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Fetched> {
        let recipe = format!("pkg/{}/build", request.package);
        let file = request.file;
        if file.is_empty() || file.starts_with('.') || file.contains(['/', '\0']) {
            return Err(Error::new(
                Kind::Recipe,
                format!("`{}` is no file name for an archive", file.escape_debug()),
            )
            .hint(format!("set TARBALL in {recipe} to a name without folders")));
        }
        if request.digests.is_empty() {
            return Err(Error::new(Kind::Recipe, format!("`{file}` has no digest")).hint(format!(
                "set SHA256SUM in {recipe} to what its author says; `sha256sum {file}` shows a file's"
            )));
        }
        Job { fetcher: self, request, new: false, progress, cancelled }.run(&recipe)
    }

    /// Gets an archive whose digest nobody knows yet: `digests` of the request is not looked at. Anything but nothing
    /// and a web page is taken from a plain URL; what `dir` holds already is not, so it had better be a folder of its own.
    pub fn fetch_new(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(u64, Option<u64>),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Fetched> {
        let recipe = format!("pkg/{}/build", request.package);
        let plain: Vec<String> = request.urls.iter().filter(|url| is_plain(url)).cloned().collect();
        let request = Request { urls: &plain, digests: &[], ..*request };
        Job { fetcher: self, request: &request, new: true, progress, cancelled }.run(&recipe)
    }

    fn client(&self) -> Result<Client> {
        let mut client = self.client.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = Client::builder()
            .user_agent(concat!("mk/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.settings.connect)
            // Of a blocking client: for the answer to begin and for each read, not for the whole.
            .timeout(self.settings.stall)
            .build()
            .map_err(|e| Error::new(Kind::Host, format!("cannot use the network: {}", innermost(&e))))?;
        Ok(client.insert(made).clone())
    }
}

impl Job<'_> {
    fn run(&mut self, recipe: &str) -> Result<Fetched> {
        let (file, dir) = (self.request.file, self.request.dir);
        let path = dir.join(file);
        if let Some(digest) = self.there(&path)?.filter(|digest| self.accepted(digest)) {
            return Ok(Fetched { path, digest, from: None, warning: None });
        }
        fs_err::create_dir_all(dir)?;
        let lock = dir.join(format!("{file}.lock"));
        let _lock = LockFile::take(&lock, self.cancelled, &|| ())?.ok_or_else(stopped)?;
        let mut warning = None;
        // Another process may have fetched it in the meantime.
        if let Some(digest) = self.there(&path)? {
            if self.accepted(&digest) {
                return Ok(Fetched { path, digest, from: None, warning: None });
            }
            let rejected = self.reject(&path)?;
            warning = Some(format!(
                "`{file}` was there with a wrong digest ({}…) and is now `{}`",
                digest.short(),
                rejected.display()
            ));
        }
        let package = self.request.package.clone();
        let begun = downloads::Record { digest: None, package, file: file.to_owned() };
        downloads::remember(dir, &begun)?;
        let mut part = Part::open(dir, file)?;
        let mut urls = self.candidates();
        if self.request.offline {
            urls.retain(|url| url.starts_with("file://") || url.starts_with("git+file://"));
        }
        let mut misses = Vec::new();
        let mut found = None;
        // A run that was killed may have left a part that is whole; without a digest that cannot be told.
        let mut got = if self.new {
            part.restart()?;
            None
        } else {
            self.publish(&mut part, None, &path)?
        };
        for url in &urls {
            if got.is_some() {
                break;
            }
            match self.try_url(url, &mut part, &path) {
                Ok(fetched) => got = Some(fetched),
                Err(Miss::Stop(error)) => return Err(error),
                Err(Miss::Reason(reason) | Miss::Broken(reason)) => {
                    misses.push(format!("`{}`: {reason}", shown(url)))
                }
                Err(Miss::Mismatch(digest)) => {
                    // What was moved aside came from there as well.
                    downloads::remember(dir, &downloads::Record { digest: Some(digest), ..begun.clone() })?;
                    found.get_or_insert(digest);
                    misses.push(format!("`{}`: found {digest}", shown(url)));
                }
            }
        }
        if let Some(fetched) = got {
            downloads::remember(dir, &downloads::Record { digest: Some(fetched.digest), ..begun })?;
            return Ok(Fetched { warning, ..fetched });
        }
        let error = self.failure(found, &urls, recipe);
        let error = misses.into_iter().fold(error, Error::at);
        Err(warning.into_iter().fold(error, Error::at))
    }

    /// The error once every URL has failed.
    fn failure(&self, found: Option<Digest>, urls: &[String], recipe: &str) -> Error {
        let Request { file, dir, digests, offline, .. } = *self.request;
        let by_hand = format!("or put the file into `{}` by hand", dir.display());
        if let Some(found) = found {
            let all: Vec<String> = digests.iter().map(|digest| format!("{}…", digest.short())).collect();
            let (expected, found) = (all.join(" or "), found.short());
            let sentence = format!("checksum mismatch for `{file}`: expected {expected}, found {found}…");
            let error = Error::new(Kind::Fetch, sentence).hint(format!(
                "if upstream released it anew, check the file by hand and update SHA256SUM in {recipe}"
            ));
            let error = digests.iter().fold(error, |error, digest| error.at(format!("expected {digest}")));
            return error.at(format!("kept to be looked at: {}", rejected(dir, file).display()));
        }
        // A folder of its own is gone by then, and a recipe may not be there yet.
        if self.new && offline && urls.is_empty() {
            return Error::new(Kind::Fetch, format!("cannot fetch `{file}`: offline nothing is fetched"))
                .hint("try again without --offline");
        }
        if self.new {
            return Error::new(Kind::Fetch, format!("cannot fetch `{file}`"))
                .hint("check the network and the URL");
        }
        if offline {
            return Error::new(
                Kind::Fetch,
                format!("`{file}` is not in `{}`, and offline nothing is fetched", dir.display()),
            )
            .hint(format!("fetch it while there is a network, {by_hand}"));
        }
        if urls.is_empty() {
            return Error::new(Kind::Recipe, format!("`{file}` has no URL"))
                .hint(format!("set URL in {recipe} to the folder that holds it, {by_hand}"));
        }
        Error::new(Kind::Fetch, format!("cannot fetch `{file}`"))
            .hint(format!("check the network and URL in {recipe}, {by_hand}"))
    }

    /// The URLs in the order in which they are tried, each after its mirrors, none twice.
    fn candidates(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for url in self.request.urls {
            for (prefix, mirrors) in &self.fetcher.settings.mirrors {
                if let Some(rest) = url.strip_prefix(prefix.as_str()) {
                    all.extend(mirrors.iter().map(|mirror| format!("{mirror}{rest}")));
                }
            }
            all.push(url.clone());
        }
        let mut seen = std::collections::HashSet::new();
        all.retain(|url| seen.insert(url.clone()));
        all
    }

    fn try_url(&mut self, url: &str, part: &mut Part, path: &Path) -> Result<Fetched, Miss> {
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme {
            "http" | "https" => self.try_http(url, part, path),
            "file" => self.try_file(url, part, path),
            "apt" => self.try_scratch(url, path, |job, scratch| {
                let progress = &mut |done| (job.progress)(done, None);
                origin::from_apt(
                    &job.fetcher.settings.apt_get,
                    &url["apt:".len()..],
                    scratch,
                    progress,
                    job.cancelled,
                )
            }),
            git if git.starts_with("git+") => self.try_scratch(url, path, |job, scratch| {
                let git = &job.fetcher.settings.git;
                origin::from_git(git, &url["git+".len()..], job.request.file, scratch, job.cancelled)
                    .map(|one| vec![one])
            }),
            _ => Err(Miss::Reason("nothing is known of URLs that begin like this".into())),
        }
    }

    /// Goes on with what there is; once more after a transfer that broke, and from the start when the whole turns
    /// out to be wrong and only its end came from here.
    fn try_http(&mut self, url: &str, part: &mut Part, path: &Path) -> Result<Fetched, Miss> {
        let mut tries = 1;
        loop {
            let resumed = part.length > 0;
            match self.transfer(url, part) {
                Ok(whole) => match self.publish(part, Some(url), path)? {
                    Some(fetched) => return Ok(fetched),
                    None if resumed && !whole => part.restart()?,
                    None => return Err(self.wrong(part)?),
                },
                Err(Miss::Broken(_)) if tries < TRIES => tries += 1,
                Err(miss) => return Err(miss),
            }
        }
    }

    fn try_file(&mut self, url: &str, part: &mut Part, path: &Path) -> Result<Fetched, Miss> {
        let Some(from) = Url::parse(url).ok().and_then(|url| url.to_file_path().ok()) else {
            return Err(Miss::Reason("it names no file of this machine".into()));
        };
        let reason = |e: io::Error| {
            Miss::Reason(if e.kind() == io::ErrorKind::NotFound {
                "no such file".to_owned()
            } else {
                e.to_string()
            })
        };
        let mut input = fs_err::File::open(from).map_err(reason)?;
        let total = input.metadata()?.len();
        part.restart()?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            if (self.cancelled)() {
                return Err(Miss::Stop(stopped()));
            }
            match input.read(&mut buffer).map_err(reason)? {
                0 => break,
                count => part.write(&buffer[..count])?,
            }
            (self.progress)(part.length, Some(total));
        }
        match self.publish(part, Some(url), path)? {
            Some(fetched) => Ok(fetched),
            None => Err(self.wrong(part)?),
        }
    }

    /// Takes the file that fits among those that `make` leaves in a scratch folder.
    fn try_scratch(
        &mut self,
        url: &str,
        path: &Path,
        make: impl FnOnce(&mut Self, &Path) -> Result<Vec<PathBuf>, Lack>,
    ) -> Result<Fetched, Miss> {
        // A name that the next run finds and removes, should this one be killed.
        let scratch = Scratch(self.request.dir.join(format!("{}.scratch", self.request.file)));
        scratch.remove()?;
        fs_err::create_dir_all(&scratch.0)?;
        let made = make(self, &scratch.0)?;
        let mut first = None;
        for candidate in made {
            let digest = Digest::of_file(&candidate)?;
            if self.accepted(&digest) {
                fs_err::rename(&candidate, path)?;
                return Ok(Fetched { path: path.to_owned(), digest, from: Some(shown(url)), warning: None });
            }
            first.get_or_insert((candidate, digest));
        }
        match first {
            Some((candidate, digest)) => {
                fs_err::rename(candidate, rejected(self.request.dir, self.request.file))?;
                Err(Miss::Mismatch(digest))
            }
            None => Err(Miss::Reason("no archive came".into())),
        }
    }

    /// Takes bytes from a server until the end. True: all of the part came from this URL now.
    fn transfer(&mut self, url: &str, part: &mut Part) -> Result<bool, Miss> {
        let mut request =
            self.fetcher.client()?.get(Url::parse(url).map_err(|e| Miss::Reason(e.to_string()))?);
        if self.new && part.length > 0 && part.version_at(url).is_none() {
            // No digest would tell that the end does not belong to the beginning.
            part.restart()?;
        }
        if part.length > 0 {
            request = request.header(RANGE, format!("bytes={}-", part.length));
            // Without a mark of its version the digest alone tells whether the end belongs to the beginning.
            if let Some(version) = part.version_at(url) {
                request = request.header(IF_RANGE, version);
            }
        }
        let (send, news) = sync_channel(8);
        let stall = self.fetcher.settings.stall;
        // A thread of its own, so that a stop need not wait for a server.
        std::thread::Builder::new()
            .name("download".to_owned())
            .spawn(move || receive(request, &send, stall))?;
        let mut total = None;
        let mut whole = true;
        let mut told = Instant::now();
        (self.progress)(part.length, None);
        loop {
            if (self.cancelled)() {
                return Err(Miss::Stop(stopped()));
            }
            match news.recv_timeout(LOOK) {
                Ok(News::Begin { from: Some(from), .. }) if from != part.length => {
                    part.restart()?;
                    return Err(Miss::Broken(
                        "the server sent another part of the file than was asked for".into(),
                    ));
                }
                Ok(News::Begin { from, length, version }) => {
                    whole = from.is_none();
                    if whole {
                        part.restart()?;
                    }
                    part.set_version(url, version.as_deref())?;
                    total = length.map(|length| part.length + length);
                }
                Ok(News::Bytes(bytes)) => {
                    part.write(&bytes)?;
                    if told.elapsed() >= LOOK {
                        told = Instant::now();
                        (self.progress)(part.length, total);
                    }
                }
                Ok(News::End) => {
                    (self.progress)(part.length, total);
                    return Ok(whole);
                }
                Ok(News::NoSuchRange) => {
                    part.restart()?;
                    return Err(Miss::Broken("the server's file is shorter than what had come".into()));
                }
                Ok(News::Refused(status)) => {
                    let reason = format!("the server answered {status}");
                    let later =
                        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
                    return Err(if status.is_server_error() || later {
                        Miss::Broken(reason)
                    } else {
                        Miss::Reason(reason)
                    });
                }
                Ok(News::Failed(reason)) => {
                    let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
                    let at = if part.length > 0 {
                        format!(" after {}{of} bytes", part.length)
                    } else {
                        String::new()
                    };
                    return Err(Miss::Broken(format!("{reason}{at}")));
                }
                Ok(News::NoConnection(reason)) => return Err(Miss::Reason(reason)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Miss::Stop(Error::new(Kind::Internal, "the downloading thread has died")));
                }
            }
        }
    }

    /// Gives the part its name if its digest fits.
    fn publish(&self, part: &mut Part, url: Option<&str>, path: &Path) -> Result<Option<Fetched>> {
        let digest = part.digest();
        if !self.fits(part, &digest)? {
            return Ok(None);
        }
        part.become_file(path)?;
        Ok(Some(Fetched { path: path.to_owned(), digest, from: url.map(shown), warning: None }))
    }

    /// What is wrong with a part that is whole and does not fit; moves it aside.
    fn wrong(&self, part: &mut Part) -> Result<Miss> {
        let digest = part.digest();
        let is_page = self.request.file.ends_with(".html") || self.request.file.ends_with(".htm");
        if part.length == 0 {
            return Ok(Miss::Reason("the server sent an empty file".into()));
        }
        if (self.new || !is_page) && is_web_page(&part.start()?) {
            part.restart()?;
            return Ok(Miss::Reason("the server sent a web page in place of the archive".into()));
        }
        part.become_file(&rejected(self.request.dir, self.request.file))?;
        Ok(Miss::Mismatch(digest))
    }

    fn accepted(&self, digest: &Digest) -> bool {
        self.request.digests.contains(digest)
    }

    /// Whether a part that is whole is the archive.
    fn fits(&self, part: &mut Part, digest: &Digest) -> Result<bool> {
        Ok(if self.new { part.length > 0 && !is_web_page(&part.start()?) } else { self.accepted(digest) })
    }

    /// The digest of the file that has the name already.
    fn there(&self, path: &Path) -> Result<Option<Digest>> {
        match fs_err::File::open(path) {
            Ok(file) => Ok(Some(Digest::of_reader(file)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn reject(&self, path: &Path) -> Result<PathBuf> {
        let aside = rejected(self.request.dir, self.request.file);
        fs_err::rename(path, &aside)?;
        Ok(aside)
    }
}

/// Where a file goes whose digest is wrong.
fn rejected(dir: &Path, file: &str) -> PathBuf {
    dir.join(format!("{file}.rejected"))
}

/// What the downloading thread has to tell.
enum News {
    /// The content begins, at this byte when the server goes on where it was asked to.
    Begin {
        from: Option<u64>,
        length: Option<u64>,
        version: Option<String>,
    },
    Bytes(Vec<u8>),
    End,
    NoSuchRange,
    Refused(StatusCode),
    Failed(String),
    NoConnection(String),
}

/// Sends a request and tells what comes, until the end or until nobody listens.
fn receive(request: reqwest::blocking::RequestBuilder, tell: &SyncSender<News>, stall: Duration) {
    let silent = || format!("the server sent nothing for {} s", stall.as_secs_f32());
    let mut response = match request.send() {
        Ok(response) => response,
        Err(e) => {
            let _ = tell.send(if e.is_connect() {
                News::NoConnection(format!("no connection ({})", innermost(&e)))
            } else if e.is_redirect() || e.is_builder() {
                News::NoConnection(innermost(&e))
            } else if e.is_timeout() {
                News::Failed(silent())
            } else {
                News::Failed(innermost(&e))
            });
            return;
        }
    };
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let from = match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            let range = header(CONTENT_RANGE).and_then(|text| text.trim().strip_prefix("bytes"));
            // What cannot be read is another part than the one that was asked for.
            Some(range.and_then(|text| text.trim().split('-').next()?.parse().ok()).unwrap_or(u64::MAX))
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let _ = tell.send(News::NoSuchRange);
            return;
        }
        status if status.is_success() => None,
        status => {
            let _ = tell.send(News::Refused(status));
            return;
        }
    };
    let length = header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
    // A weak tag does not vouch for every byte.
    let version =
        header(ETAG).filter(|tag| !tag.starts_with("W/")).or(header(LAST_MODIFIED)).map(str::to_owned);
    if tell.send(News::Begin { from, length, version }).is_err() {
        return;
    }
    loop {
        let mut bytes = vec![0; 64 * 1024];
        let news = match response.read(&mut bytes) {
            Ok(0) => News::End,
            Ok(count) => {
                bytes.truncate(count);
                News::Bytes(bytes)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                let cause = e.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
                News::Failed(
                    if e.kind() == io::ErrorKind::TimedOut || cause.is_some_and(reqwest::Error::is_timeout) {
                        silent()
                    } else {
                        "the transfer broke off".to_owned()
                    },
                )
            }
        };
        let last = !matches!(news, News::Bytes(_));
        if tell.send(news).is_err() || last {
            return;
        }
    }
}

/// What has come so far, beside the place where it will be, with its running digest.
struct Part {
    path: PathBuf,
    /// Holds the URL and the version's mark of what has come.
    version: PathBuf,
    file: fs_err::File,
    hash: Sha256,
    length: u64,
}

impl Part {
    fn open(dir: &Path, name: &str) -> Result<Part> {
        let (path, version) = (dir.join(format!("{name}.part")), dir.join(format!("{name}.part.from")));
        let mut file =
            fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let mut hash = Sha256::new();
        let length = io::copy(&mut file, &mut hash)?;
        Ok(Part { path, version, file, hash, length })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    /// The first bytes.
    fn start(&mut self) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&mut self.file).take(512).read_to_end(&mut start)?;
        self.file.seek(SeekFrom::End(0))?;
        Ok(start)
    }

    fn version_at(&self, url: &str) -> Option<String> {
        let text = fs_err::read_to_string(&self.version).ok()?;
        let (from, version) = text.trim_end().split_once('\n')?;
        (from == url).then(|| version.to_owned())
    }

    fn set_version(&self, url: &str, version: Option<&str>) -> io::Result<()> {
        match version {
            Some(version) => fs_err::write(&self.version, format!("{url}\n{version}\n")),
            None => gone(fs_err::remove_file(&self.version)),
        }
    }

    /// Renames the part and begins an empty one.
    fn become_file(&mut self, path: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, path)?;
        gone(fs_err::remove_file(&self.version))?;
        let mut options = fs_err::OpenOptions::new();
        self.file = options.read(true).write(true).create(true).truncate(true).open(&self.path)?;
        self.restart()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.length == 0 {
            let _ = fs_err::remove_file(&self.path);
            let _ = fs_err::remove_file(&self.version);
        }
    }
}

/// A folder that is gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn remove(&self) -> io::Result<()> {
        gone(fs_err::remove_dir_all(&self.0))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = self.remove();
    }
}

/// What was to be removed and is not there is as good as removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A URL as it may be shown: without a name and password in it.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if !parsed.username().is_empty() || parsed.password().is_some() => {
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

/// The cause at the bottom of an error: those above it only say that there is one.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_stands_between_folder_and_file() {
        assert_eq!(archive_url("https://a.example/x", "f.tar"), "https://a.example/x/f.tar");
        assert_eq!(archive_url("https://a.example/x/", "f.tar"), "https://a.example/x/f.tar");
        assert_eq!(archive_url("apt:zlib=1.2", "f.tar"), "apt:zlib=1.2");
        assert_eq!(archive_url("git+https://a.example/x#00", "f.tar"), "git+https://a.example/x#00");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://me:secret@a.example/f"), "https://a.example/f");
        assert_eq!(shown("apt:zlib=1:2"), "apt:zlib=1:2");
    }
}
