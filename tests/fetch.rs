//! Fetching, against a real server on loopback, a fake `apt-get` and a real git repository.

// Helpers are no tests in clippy's eyes.
#![allow(clippy::unwrap_used)]

mod processes;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mk::digest::Digest;
use mk::error::{Kind, Result};
use mk::fetch::{Fetched, Fetcher, Request, Settings};
use mk::names::PackageName;
use processes::until;

const FILE: &str = "zlib-1.3.tar.xz";

/// What the server does for one request.
enum Reply {
    /// Everything, whatever was asked for.
    Whole(Vec<u8>),
    /// What was asked for.
    Range(Vec<u8>),
    /// Says that there is more than the first bytes, which it sends.
    Truncated(Vec<u8>, usize),
    /// Sends the first bytes, then nothing, until the client goes away.
    Stalls(Vec<u8>, usize),
    /// A byte at a time.
    Trickle(Vec<u8>),
    /// A bare status.
    Status(&'static str),
    /// Elsewhere.
    Redirect(String),
}

/// A request as it came: path, and headers in lower case.
type Asked = (String, Vec<String>);

/// A server on loopback that lives as long as the test and remembers what it was asked.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers each request by what `reply` makes of its path and its number, from 0.
    fn new(reply: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, reply) = (asked.clone(), Arc::new(reply));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, reply) = (seen.clone(), reply.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*reply));
            }
        });
        Server { address, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    fn paths(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let start = format!("{name}: ");
        let asked = self.asked.lock().unwrap();
        asked[request].1.iter().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Asked>>, reply: &dyn Fn(&str, usize) -> Reply) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::result::Result::ok);
    let Some(first) = lines.next() else { return };
    let headers: Vec<String> =
        lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let path = first.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
    let from =
        headers.iter().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok());
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push((path.clone(), headers));
        seen.len() - 1
    };
    let mut send = |status: &str, more: &str, length: usize, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nETag: \"v1\"\r\n{more}Content-Length: {length}\r\n\r\n"
        );
        // The client may have gone.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    match reply(&path, number) {
        Reply::Whole(body) => send("200 OK", "", body.len(), &body),
        Reply::Range(body) => match from {
            Some(from) if from >= body.len() => send("416 Range Not Satisfiable", "", 0, b""),
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                send("206 Partial Content", &range, body.len() - from, &body[from..]);
            }
            None => send("200 OK", "", body.len(), &body),
        },
        Reply::Truncated(body, sent) => send("200 OK", "", body.len(), &body[..sent]),
        Reply::Stalls(body, sent) => {
            send("200 OK", "", body.len(), &body[..sent]);
            let _ = stream.read(&mut [0; 1]);
        }
        Reply::Trickle(body) => {
            send("200 OK", "", body.len(), b"");
            for byte in body {
                let _ = stream.write_all(&[byte]);
            }
        }
        Reply::Status(status) => send(status, "", 0, b""),
        Reply::Redirect(to) => send("302 Found", &format!("Location: {to}\r\n"), 0, b""),
    }
}

/// A download folder and how it is asked for.
struct Case {
    temporary: tempfile::TempDir,
    settings: Settings,
    offline: bool,
}

impl Case {
    fn new() -> Case {
        Case { temporary: tempfile::tempdir().unwrap(), settings: Settings::default(), offline: false }
    }

    fn dir(&self) -> PathBuf {
        self.temporary.path().join("download")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    fn put(&self, name: &str, content: &[u8]) {
        fs_err::create_dir_all(self.dir()).unwrap();
        fs_err::write(self.path(name), content).unwrap();
    }

    fn fetch(&self, urls: &[String], right: &[u8]) -> Result<Fetched> {
        self.fetch_as(FILE, urls, &[Digest::of(right)], &mut |_, _| (), &|| false)
    }

    fn fetch_as(
        &self,
        file: &str,
        urls: &[String],
        digests: &[Digest],
        progress: &mut dyn FnMut(u64, Option<u64>),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Fetched> {
        let package = PackageName::new("zlib").unwrap();
        let dir = self.dir();
        let request = Request { package: &package, file, urls, digests, dir: &dir, offline: self.offline };
        Fetcher::new(self.settings.clone()).fetch(&request, progress, cancelled)
    }

    /// What lies in the download folder, beside the list of what was fetched.
    fn names(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.dir()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".mk-fetched");
        names.sort();
        names
    }

    fn content(&self) -> Vec<u8> {
        fs_err::read(self.path(FILE)).unwrap()
    }
}

/// Something that is no web page, longer than a buffer.
fn archive() -> Vec<u8> {
    (0..300_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A program that stands for another.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("program");
    fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn an_archive_comes_and_nothing_else_stays() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    let case = Case::new();
    let url = server.url(FILE);
    let fetched = case.fetch(std::slice::from_ref(&url), &archive()).unwrap();
    let path = case.path(FILE);
    assert_eq!(fetched, Fetched { path, digest: Digest::of(archive()), from: Some(url), warning: None });
    assert_eq!(case.names(), [FILE]);
    assert_eq!(case.content(), archive());
    assert_eq!(server.header(0, "user-agent"), Some(format!("mk/{}", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn what_is_there_and_right_is_not_fetched() {
    let case = Case::new();
    case.put(FILE, b"right");
    let fetched = case.fetch(&["http://127.0.0.1:1/no".into()], b"right").unwrap();
    assert_eq!((fetched.from, fetched.warning), (None, None));
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn what_is_there_and_wrong_is_moved_aside_with_a_warning_and_fetched_anew() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    let case = Case::new();
    case.put(FILE, b"damaged");
    let fetched = case.fetch(&[server.url(FILE)], &archive()).unwrap();
    let warning = fetched.warning.unwrap();
    assert!(warning.contains(&format!("wrong digest ({}…)", Digest::of("damaged").short())), "{warning}");
    assert_eq!(case.names(), [FILE.to_owned(), format!("{FILE}.rejected")]);
    assert_eq!(case.content(), archive());
}

#[test]
fn a_wrong_digest_shows_both_and_leaves_nothing_under_the_name() {
    let server = Server::new(|_, _| Reply::Whole(b"something else".to_vec()));
    let case = Case::new();
    let (expected, found) = (Digest::of("right"), Digest::of("something else"));
    let error = case.fetch(&[server.url(FILE)], b"right").unwrap_err();
    assert_eq!(error.kind, Kind::Fetch);
    let sentence = format!("expected {}…, found {}…", expected.short(), found.short());
    assert_eq!(error.message, format!("checksum mismatch for `{FILE}`: {sentence}"));
    assert!(error.at.contains(&format!("expected {expected}")), "{error}");
    assert!(error.at.contains(&format!("`{}`: found {found}", server.url(FILE))), "{error}");
    let hint = "if upstream released it anew, check the file by hand and update SHA256SUM in pkg/zlib/build";
    assert_eq!(error.hints, [hint]);
    assert_eq!(case.names(), [format!("{FILE}.rejected")]);
}

#[test]
fn any_of_several_digests_will_do() {
    let server = Server::new(|_, _| Reply::Whole(b"repacked".to_vec()));
    let digests = [Digest::of("upstream"), Digest::of("repacked")];
    let fetched =
        Case::new().fetch_as(FILE, &[server.url(FILE)], &digests, &mut |_, _| (), &|| false).unwrap();
    assert_eq!(fetched.digest, digests[1]);
}

#[test]
fn a_wrong_digest_at_one_url_does_not_keep_the_next_from_being_right() {
    let server = Server::new(|path, _| Reply::Whole(if path == "bad" { b"bad".to_vec() } else { archive() }));
    let fetched = Case::new().fetch(&[server.url("bad"), server.url("good")], &archive()).unwrap();
    assert_eq!(fetched.from, Some(server.url("good")));
}

#[test]
fn a_truncated_transfer_is_gone_on_with() {
    let server = Server::new(|_, n| match n {
        0 => Reply::Truncated(archive(), 400_000),
        _ => Reply::Range(archive()),
    });
    let case = Case::new();
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
    assert_eq!(case.content(), archive());
    assert_eq!(server.paths().len(), 2);
    assert_eq!(server.header(1, "range"), Some("bytes=400000-".into()));
    assert_eq!(server.header(1, "if-range"), Some("\"v1\"".into()));
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn a_transfer_of_an_earlier_run_is_gone_on_with() {
    let server = Server::new(|_, _| Reply::Range(archive()));
    let case = Case::new();
    case.put(&format!("{FILE}.part"), &archive()[..5000]);
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
    assert_eq!(case.content(), archive());
    assert_eq!(server.header(0, "range"), Some("bytes=5000-".into()));
    assert_eq!(server.header(0, "if-range"), None);
}

#[test]
fn a_transfer_that_broke_at_one_url_is_gone_on_with_at_the_next() {
    let server = Server::new(|path, n| match (path, n) {
        ("broken", 0) => Reply::Truncated(archive(), 1000),
        ("broken", _) => Reply::Status("404 Not Found"),
        _ => Reply::Range(archive()),
    });
    let case = Case::new();
    case.fetch(&[server.url("broken"), server.url("good")], &archive()).unwrap();
    assert_eq!(case.content(), archive());
    assert_eq!(server.header(2, "range"), Some("bytes=1000-".into()));
    assert_eq!(server.header(2, "if-range"), None);
}

#[test]
fn a_server_that_ignores_ranges_sends_everything_again() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    let case = Case::new();
    case.put(&format!("{FILE}.part"), &archive()[..5000]);
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
    assert_eq!(case.content(), archive());
    assert_eq!(server.paths().len(), 1);
}

#[test]
fn a_part_that_belongs_to_something_else_is_dropped_once_the_whole_does_not_fit() {
    let server = Server::new(|_, _| Reply::Range(archive()));
    let case = Case::new();
    case.put(&format!("{FILE}.part"), &[7; 5000]);
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
    assert_eq!(case.content(), archive());
    assert_eq!(server.header(1, "range"), None);
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn a_part_that_is_longer_than_the_file_is_dropped() {
    let server = Server::new(|_, _| Reply::Range(b"short".to_vec()));
    let case = Case::new();
    case.put(&format!("{FILE}.part"), &[7; 5000]);
    case.fetch(&[server.url(FILE)], b"short").unwrap();
    assert_eq!(case.content(), b"short");
}

#[test]
fn a_part_that_is_whole_needs_no_server() {
    let case = Case::new();
    case.put(&format!("{FILE}.part"), b"whole");
    assert_eq!(case.fetch(&["http://127.0.0.1:1/no".into()], b"whole").unwrap().from, None);
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn what_is_not_found_is_looked_for_at_the_next_url_at_once() {
    let server = Server::new(|path, _| match path {
        "gone" => Reply::Status("404 Not Found"),
        _ => Reply::Whole(archive()),
    });
    let fetched = Case::new().fetch(&[server.url("gone"), server.url("here")], &archive()).unwrap();
    assert_eq!(fetched.from, Some(server.url("here")));
    assert_eq!(server.paths(), ["gone", "here"]);
}

#[test]
fn a_redirect_is_followed_but_not_in_a_circle() {
    let server = Server::new(|path, _| match path {
        "old" => Reply::Redirect("/new".into()),
        "new" => Reply::Whole(archive()),
        _ => Reply::Redirect("/round".into()),
    });
    let fetched = Case::new().fetch(&[server.url("old")], &archive()).unwrap();
    assert_eq!(fetched.from, Some(server.url("old")));
    let error = Case::new().fetch(&[server.url("round")], b"x").unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = Server::new(|_, _| Reply::Trickle(archive()[..3000].to_vec()));
    let case = Case::new();
    case.fetch(&[server.url(FILE)], &archive()[..3000]).unwrap();
    assert_eq!(case.content(), archive()[..3000]);
}

#[test]
fn a_silent_server_is_given_up() {
    let server = Server::new(|path, _| match path {
        "mute" => Reply::Stalls(archive(), 100),
        _ => Reply::Range(archive()),
    });
    let mut case = Case::new();
    case.settings.stall = Duration::from_millis(300);
    let error = case.fetch(&[server.url("mute")], &archive()).unwrap_err();
    assert!(error.to_string().contains("the server sent nothing for 0.3 s"), "{error}");
    let case = Case { settings: Settings::default(), ..case };
    case.fetch(&[server.url("good")], &archive()).unwrap();
}

#[test]
fn a_web_page_in_place_of_an_archive_is_named_as_such() {
    let server =
        Server::new(|_, _| Reply::Whole(b"\n<!DOCTYPE html>\n<title>Please log in</title>".to_vec()));
    let case = Case::new();
    let error = case.fetch(&[server.url(FILE)], b"right").unwrap_err();
    assert_eq!(error.message, format!("cannot fetch `{FILE}`"));
    let reason = "the server sent a web page in place of the archive";
    assert_eq!(error.at, [format!("`{}`: {reason}", server.url(FILE))]);
    assert!(case.names().is_empty(), "{:?}", case.names());
}

#[test]
fn every_url_that_fails_is_listed_with_its_reason_and_only_what_may_pass_is_tried_twice() {
    let server = Server::new(|path, _| match path {
        "gone" => Reply::Status("404 Not Found"),
        "cut" => Reply::Truncated(archive(), 10),
        _ => Reply::Status("500 Internal Server Error"),
    });
    let case = Case::new();
    let urls = [server.url("ill"), server.url("gone"), server.url("cut"), "gopher://x/y".into()];
    let error = case.fetch(&urls, &archive()).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Fetch, "cannot fetch `zlib-1.3.tar.xz`"));
    let expected = [
        format!("`{}`: the server answered 500 Internal Server Error", urls[0]),
        format!("`{}`: the server answered 404 Not Found", urls[1]),
        format!("`{}`: the transfer broke off after 10 of 1200000 bytes", urls[2]),
        format!("`{}`: nothing is known of URLs that begin like this", urls[3]),
    ];
    assert_eq!(error.at, expected);
    assert_eq!(server.paths(), ["ill", "ill", "gone", "cut", "cut"]);
    assert!(!case.path(FILE).exists());
}

#[test]
fn a_server_that_is_not_there_is_told_without_its_password() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Case::new().fetch(&[format!("http://me:secret@{free}/f")], b"x").unwrap_err();
    assert!(error.to_string().contains(&format!("`http://{free}/f`: no connection (")), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn offline_nothing_is_asked_for() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    let case = Case { offline: true, ..Case::new() };
    let error = case.fetch(&[server.url(FILE)], &archive()).unwrap_err();
    let dir = case.dir();
    assert_eq!(
        error.message,
        format!("`{FILE}` is not in `{}`, and offline nothing is fetched", dir.display())
    );
    assert!(server.paths().is_empty());
    case.put(FILE, &archive());
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
}

#[test]
fn a_file_of_this_machine_is_copied_even_offline() {
    let case = Case { offline: true, ..Case::new() };
    let from = case.temporary.path().join("a file");
    fs_err::write(&from, archive()).unwrap();
    let url = format!("file://{}", from.display()).replace(' ', "%20");
    let fetched = case.fetch(&["file:///no/such/file".into(), url.clone()], &archive()).unwrap();
    assert_eq!(fetched.from, Some(url));
    assert_eq!(fs_err::read(from).unwrap(), archive());
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn two_that_want_the_same_file_fetch_it_once() {
    let server = Server::new(|_, _| Reply::Trickle(archive()[..20_000].to_vec()));
    let case = Case::new();
    let (urls, both) = ([server.url(FILE)], Barrier::new(2));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                both.wait();
                case.fetch(&urls, &archive()[..20_000]).unwrap();
            });
        }
    });
    assert_eq!(server.paths().len(), 1);
    assert_eq!(case.names(), [FILE]);
}

#[test]
fn a_stop_ends_a_transfer_that_stands_still_and_keeps_what_came() {
    let server = Server::new(|_, n| match n {
        0 => Reply::Stalls(archive(), 1000),
        _ => Reply::Range(archive()),
    });
    let mut case = Case::new();
    case.settings.stall = Duration::from_secs(3600);
    let part = case.path(&format!("{FILE}.part"));
    let came = || fs_err::metadata(&part).is_ok_and(|meta| meta.len() > 0);
    let digests = [Digest::of(archive())];
    let error = case.fetch_as(FILE, &[server.url(FILE)], &digests, &mut |_, _| (), &came).unwrap_err();
    assert!(matches!(error.kind, Kind::Interrupted(_)), "{error}");
    assert!(came());
    case.fetch(&[server.url(FILE)], &archive()).unwrap();
    assert_eq!(server.header(1, "range"), Some("bytes=1000-".into()));
}

#[test]
fn mirrors_are_tried_before_what_they_mirror() {
    let server = Server::new(|path, _| match path {
        "b/f" => Reply::Whole(archive()),
        _ => Reply::Status("404 Not Found"),
    });
    let mut case = Case::new();
    case.settings.mirrors = vec![(server.url("upstream/"), vec![server.url("a/"), server.url("b/")])];
    case.fetch(&[server.url("upstream/f")], &archive()).unwrap();
    assert_eq!(server.paths(), ["a/f", "b/f"]);
    case.fetch(&[server.url("upstream/f")], b"else").unwrap_err();
    assert_eq!(server.paths()[2..], ["a/f", "b/f", "upstream/f"]);
}

#[test]
fn a_recipe_without_digest_or_url_or_with_a_strange_file_name_is_wrong() {
    let case = Case::new();
    let fetch = |file: &str, digests: &[Digest]| {
        let error = case.fetch_as(file, &[], digests, &mut |_, _| (), &|| false).unwrap_err();
        assert_eq!(error.kind, Kind::Recipe, "{error}");
        error.message
    };
    assert_eq!(fetch(FILE, &[]), "`zlib-1.3.tar.xz` has no digest");
    assert_eq!(fetch(FILE, &[Digest::of("x")]), "`zlib-1.3.tar.xz` has no URL");
    for file in ["", "../x", "a/b", ".hidden"] {
        assert!(fetch(file, &[Digest::of("x")]).contains("is no file name for an archive"), "{file:?}");
    }
}

#[test]
fn progress_ends_with_all_bytes() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    let mut told = Vec::new();
    let mut progress = |done, total| told.push((done, total));
    let digests = [Digest::of(archive())];
    Case::new().fetch_as(FILE, &[server.url(FILE)], &digests, &mut progress, &|| false).unwrap();
    assert_eq!(told.last(), Some(&(1_200_000, Some(1_200_000))));
}

#[test]
fn apt_is_asked_for_a_source_package_and_the_file_that_fits_is_taken() {
    let mut case = Case::new();
    case.settings.apt_get = script(
        case.temporary.path(),
        "echo \"$@\" > ../../arguments\n\
         echo others > zlib_1.orig-docs.tar.gz; echo right > zlib_1.orig.tar.bz2; echo right > zlib_1.dsc",
    );
    let fetched = case.fetch(&["apt:zlib=1:1-1".into()], b"right\n").unwrap();
    assert_eq!(fetched.from.as_deref(), Some("apt:zlib=1:1-1"));
    assert_eq!(case.names(), [FILE]);
    let arguments = fs_err::read_to_string(case.temporary.path().join("arguments")).unwrap();
    assert!(arguments.starts_with("source ") && arguments.ends_with(" zlib=1:1-1\n"), "{arguments}");
}

#[test]
fn apt_that_brings_something_else_is_a_mismatch() {
    let mut case = Case::new();
    case.settings.apt_get = script(case.temporary.path(), "echo newer > zlib_2.orig.tar.xz");
    let error = case.fetch(&["apt:zlib".into()], b"right").unwrap_err();
    assert!(error.message.starts_with("checksum mismatch for"), "{error}");
    assert!(error.at.contains(&format!("`apt:zlib`: found {}", Digest::of("newer\n"))), "{error}");
}

#[test]
fn what_apt_lacks_is_told_in_plain_words_and_the_next_url_is_tried() {
    let server = Server::new(|_, _| Reply::Whole(archive()));
    for (says, reason) in [
        ("E: You must put some 'deb-src' URIs in your sources.list", "no source list of apt has `deb-src`"),
        ("E: Can not find version '9' of package 'zlib'", "apt has no version `9` of `zlib`"),
        ("E: Unable to find a source package for zlib", "apt knows no source package `zlib`"),
        ("E: Some other trouble", "E: Some other trouble"),
    ] {
        let mut case = Case::new();
        case.settings.apt_get = script(case.temporary.path(), &format!("echo \"{says}\" >&2; exit 100"));
        let error = case.fetch(&["apt:zlib=9".into()], b"x").unwrap_err();
        assert!(error.to_string().contains(&format!("`apt:zlib=9`: {reason}")), "{error}");
        case.fetch(&["apt:zlib=9".into(), server.url(FILE)], &archive()).unwrap();
    }
}

#[test]
fn a_machine_without_apt_says_so() {
    let mut case = Case::new();
    case.settings.apt_get = case.temporary.path().join("none");
    let error = case.fetch(&["apt:zlib".into()], b"x").unwrap_err();
    assert!(error.to_string().contains("`apt:zlib`: this machine has no `apt-get`"), "{error}");
    let error = case.fetch(&["apt:-o=Evil".into()], b"x").unwrap_err();
    assert!(error.to_string().contains("followed by the name of a source package"), "{error}");
}

/// A `git` that takes down how it is called, and does this in place of fetching.
fn git_that(case: &Case, does: &str) -> PathBuf {
    let called = case.temporary.path().join("called");
    let text = format!(
        "echo \"$*\" >> {}\ncase \" $* \" in\n*' init '*) ;;\n*' fetch '*) {does} ;;\n*) exit 1 ;;\nesac",
        called.display()
    );
    script(case.temporary.path(), &text)
}

#[test]
fn git_waits_for_no_server_for_ever_and_asks_nobody() {
    let mut case = Case::new();
    case.settings.git = git_that(&case, "echo 'fatal: no more' >&2; exit 1");
    let error = case
        .fetch_as(
            "x.tar",
            &[format!("git+ssh://a.example/x#{}", "0".repeat(40))],
            &[Digest::of("x")],
            &mut |_, _| (),
            &|| false,
        )
        .unwrap_err();
    assert!(error.to_string().contains(": fatal: no more"), "{error}");
    let called = fs_err::read_to_string(case.temporary.path().join("called")).unwrap();
    let fetches: Vec<&str> = called.lines().filter(|line| line.contains(" fetch ")).collect();
    assert_eq!(fetches.len(), 2, "{called}");
    for line in fetches {
        assert!(line.contains(" -c http.lowSpeedLimit=1 -c http.lowSpeedTime=60 "), "{line}");
        let ssh = " core.sshCommand=${GIT_SSH:-ssh -o BatchMode=yes -o ConnectTimeout=20 ";
        assert!(line.contains(ssh), "{line}");
    }
}

#[test]
fn what_git_started_ends_with_it_when_the_run_is_stopped() {
    let mut case = Case::new();
    let child = case.temporary.path().join("child");
    case.settings.git = git_that(&case, &format!("sleep 1000 & echo $! > {}; wait", child.display()));
    let pid = || fs_err::read_to_string(&child).ok()?.strip_suffix('\n')?.parse::<u32>().ok();
    let url = format!("git+https://a.example/x#{}", "0".repeat(40));
    let error =
        case.fetch_as("x.tar", &[url], &[Digest::of("x")], &mut |_, _| (), &|| pid().is_some()).unwrap_err();
    assert!(matches!(error.kind, Kind::Interrupted(_)), "{error}");
    // The dead have no command line, whether or not somebody has asked how they ended.
    let line = format!("/proc/{}/cmdline", pid().unwrap());
    until("git's child is gone", || {
        fs_err::read(&line).is_ok_and(|line| line.is_empty()) || !Path::new(&line).exists()
    });
}

#[test]
fn a_commit_of_a_git_repository_gives_an_archive() {
    let case = Case { offline: true, ..Case::new() };
    let repository = case.temporary.path().join("repository");
    let repository = repository.to_str().unwrap();
    let git = |arguments: &[&str]| {
        let all = [&["-C", repository, "-c", "user.name=a", "-c", "user.email=a@b.c"], arguments].concat();
        duct::cmd("git", all).env("GIT_COMMITTER_DATE", "@1 +0000").read().unwrap()
    };
    fs_err::create_dir_all(repository).unwrap();
    git(&["init", "-q"]);
    fs_err::write(Path::new(repository).join("hello.c"), "int main;").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x", "--date=@1 +0000"]);
    let commit = git(&["rev-parse", "HEAD"]);
    fs_err::write(Path::new(repository).join("later.c"), "").unwrap();
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "y"]);

    let urls = [format!("git+file://{repository}#{commit}")];
    let fetch = |file: &str, digest: Digest| case.fetch_as(file, &urls, &[digest], &mut |_, _| (), &|| false);
    for file in ["hello-1.tar", "hello-1.tar.gz", "hello-1.tar.xz"] {
        // The first time tells the digest, as it does to the writer of a recipe; the second has to give the same.
        let error = fetch(file, Digest::of("unknown")).unwrap_err();
        let (_, found) =
            error.at.iter().find_map(|line| line.split_once(": found ")).unwrap_or_else(|| panic!("{error}"));
        let fetched = fetch(file, found.parse().unwrap()).unwrap();
        let into = case.temporary.path().join(format!("{file}.d"));
        fs_err::create_dir_all(&into).unwrap();
        let unpacked = mk::unpack::unpack(&fetched.path, &into, Default::default()).unwrap();
        assert_eq!((unpacked.tops, unpacked.files), (vec!["hello-1".to_owned()], 1));
    }
    let missing = [format!("git+file://{repository}#{}", "0".repeat(40)), "git+file:///x#main".into()];
    let error =
        case.fetch_as("hello-2.tar", &missing, &[Digest::of("x")], &mut |_, _| (), &|| false).unwrap_err();
    assert!(error.at[0].contains("the repository has no commit"), "{error}");
    assert!(error.at[1].contains("all 40 digits of a commit"), "{error}");
}
