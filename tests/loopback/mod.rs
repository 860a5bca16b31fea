//! A server on loopback and a small tree beside it, for tests of commands that ask upstream.

#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use mk::digest::Digest;

/// What the server does for one request.
#[derive(Clone)]
pub enum Reply {
    /// Everything.
    Whole(Vec<u8>),
    /// Says that there is more than the first bytes, which it sends.
    Truncated(Vec<u8>, usize),
    /// Sends a head and the first bytes, then nothing, until the client goes away.
    Stalls(Vec<u8>),
    /// A bare status.
    Status(&'static str),
    /// Elsewhere.
    Redirect(String),
    /// The first time this, then that.
    Then(Box<Reply>, Box<Reply>),
}

impl From<&str> for Reply {
    fn from(text: &str) -> Reply {
        Reply::Whole(text.into())
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Reply {
        Reply::Whole(bytes)
    }
}

/// A server that lives as long as the test and remembers which paths it was asked for.
pub struct Server {
    pub address: String,
    pages: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn new() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let pages: Arc<Mutex<HashMap<String, Reply>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (known, seen) = (pages.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (known, seen) = (known.clone(), seen.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &known, &seen));
            }
        });
        Server { address, pages, asked }
    }

    /// Answers requests for a path like `/pub/`; as a proxy, for a whole URL.
    pub fn put(&self, path: &str, reply: impl Into<Reply>) {
        self.pages.lock().unwrap().insert(path.to_owned(), reply.into());
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, pages: &Mutex<HashMap<String, Reply>>, seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::result::Result::ok);
    let Some(first) = lines.next() else { return };
    let _: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let reply = {
        let mut pages = pages.lock().unwrap();
        let reply = match pages.get(&path).cloned() {
            Some(Reply::Then(first, then)) => {
                pages.insert(path.clone(), *then);
                *first
            }
            Some(reply) => reply,
            None => Reply::Status("404 Not Found"),
        };
        seen.lock().unwrap().push(path);
        reply
    };
    let mut send = |status: &str, more: &str, length: usize, body: &[u8]| {
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}Content-Length: {length}\r\n\r\n");
        // The client may have gone.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    };
    match reply {
        Reply::Whole(body) => send("200 OK", "", body.len(), &body),
        Reply::Truncated(body, sent) => send("200 OK", "", body.len(), &body[..sent]),
        Reply::Stalls(body) => {
            send("200 OK", "", body.len() + 1, &body);
            let _ = stream.read(&mut [0; 1]);
        }
        Reply::Status(status) => {
            let page = format!("<html><body><h1>{status}</h1></body></html>");
            send(status, "", page.len(), page.as_bytes());
        }
        Reply::Redirect(to) => send("302 Found", &format!("Location: {to}\r\n"), 0, b""),
        Reply::Then(..) => unreachable!(),
    }
}

/// A listing as Apache prints it.
pub fn apache(path: &str, names: &[&str]) -> Reply {
    let mut text = format!(
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html><head><title>Index of {path}</title></head><body>\n\
         <h1>Index of {path}</h1><table><tr><th><a href=\"?C=N;O=D\">Name</a></th><th><a href=\"?C=M;O=A\">Last modified</a></th></tr>\n\
         <tr><td><a href=\"/\">Parent Directory</a></td></tr>\n"
    );
    for name in names {
        let short: String = name.chars().take(20).collect();
        text += &format!(
            "<tr><td><a href=\"{name}\">{short}..&gt;</a></td><td>2023-01-01 10:00</td><td>1.2M</td></tr>\n"
        );
    }
    Reply::Whole((text + "</table><address>Apache/2.4.57 Server</address></body></html>\n").into())
}

/// A listing as nginx prints it.
pub fn nginx(path: &str, names: &[&str]) -> Reply {
    let mut text = format!(
        "<html>\r\n<head><title>Index of {path}</title></head>\r\n<body>\r\n<h1>Index of {path}</h1><hr><pre><a href=\"../\">../</a>\r\n"
    );
    for name in names {
        text += &format!("<a href=\"{name}\">{name}</a>      01-Jan-2023 10:00      1234567\r\n");
    }
    Reply::Whole((text + "</pre><hr></body>\r\n</html>\r\n").into())
}

/// A feed of releases as GitHub makes it.
pub fn feed(project: &str, tags: &[&str]) -> Reply {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:lang=\"en-US\">\n\
         <id>tag:github.com,2008:https://github.com/{project}/releases</id>\n\
         <link type=\"text/html\" rel=\"alternate\" href=\"https://github.com/{project}/releases\"/>\n<title>Release notes</title>\n"
    );
    for tag in tags {
        text += &format!(
            "<entry><id>tag:github.com,2008:Repository/1/{tag}</id><link rel=\"alternate\" type=\"text/html\" \
             href=\"https://github.com/{project}/releases/tag/{tag}\"/><title>{tag}</title></entry>\n"
        );
    }
    Reply::Whole((text + "</feed>\n").into())
}

/// An archive with one file in one folder.
pub fn archive(top: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o644);
    builder.append_data(&mut header, format!("{top}/README"), &b"hi\n"[..]).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&builder.into_inner().unwrap()).unwrap();
    packed.finish().unwrap()
}

/// A tree, a workspace and a store of their own.
pub struct Case {
    pub server: Server,
    folder: tempfile::TempDir,
    pub environment: Vec<(String, String)>,
}

/// What a run of `mk` came to.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Case {
    /// With the board `b` and the product `p`.
    pub fn new() -> Case {
        let case =
            Case { server: Server::new(), folder: tempfile::tempdir().unwrap(), environment: Vec::new() };
        for folder in ["tree/pkg", "tree/board/b", "tree/product/p", "work"] {
            fs_err::create_dir_all(case.path(folder)).unwrap();
        }
        case
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    pub fn recipe(&self, package: &str, text: &str) {
        self.write(&format!("tree/pkg/{package}/build"), text);
    }

    /// A recipe with a source and nothing else; `more` comes at its end.
    pub fn package(&self, package: &str, version: &str, url: &str, more: &str) {
        let digest = Digest::of(archive(&format!("{package}-{version}")));
        let text = format!(
            "VERSION=\"{version}\"\nURL=\"{url}\"\nTARBALL=\"{package}-$VERSION.tar.gz\"\nSHA256SUM=\"{digest}\"\n\
             SRCDIR=\"{package}-$VERSION\"\nDEPENDS=\"\"\n{more}"
        );
        self.recipe(package, &text);
    }

    /// Runs `mk` with words parted by spaces; the server's address and the folder's path become `@` and `~`.
    pub fn mk(&self, words: &str) -> Ran {
        self.command(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub fn command(&self, words: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mk"));
        for name in [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
            "MK_ROOMS",
            "MK_JOBS",
            "MAKEFLAGS",
        ] {
            command.env_remove(name);
        }
        command.arg("--tree").arg(self.path("tree")).arg("--store").arg(self.path("store"));
        command.args(words).current_dir(self.path("work")).envs(self.environment.iter().cloned());
        let output = command.output().unwrap();
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            text.replace(&self.server.address, "@").replace(&*self.folder.path().to_string_lossy(), "~")
        };
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: shown(&output.stdout),
            err: shown(&output.stderr),
        }
    }
}

/// Names in a folder, sorted, without hidden ones.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}
