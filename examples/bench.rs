//! What `scripts/bench` needs beside the program `mk`: trees to build, and single parts of `mk` as commands, so that each
//! can be measured beside the program that does the same. Not for users: it checks nothing that was typed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mk::digest::Digest;
use mk::room::{Cancel, Mount, Program, Room, RoomServer};
use mk::{stage, strip, unpack};

use synthetic::{Graph, Shape};

const USAGE: &str = "usage: bench COMMAND
  tree INTO SHAPE PACKAGES SEED KIB   a tree, its archives and graph.json; SHAPE: random, diamond, chain, wide
  hash FILE                           SHA-256 of an archive, as after a download
  unpack ARCHIVE INTO                 as for a source
  stage FROM INTO                     what a package needs, without a room: hard links
  room FOLDER SCRATCH                 the same with a room that shows FOLDER, in which nothing is done
  strip FOLDER STRIP                  a deploy folder, by the program STRIP";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["tree", into, shape, packages, seed, kib] => {
            let graph = Graph::new(
                Shape::named(shape).expect("a shape"),
                packages.parse().expect("a number of packages"),
                seed.parse().expect("a seed"),
            );
            graph.write(Path::new(into), kib.parse().expect("a size"));
        }
        ["hash", file] => assert_ne!(Digest::of_file(file).unwrap(), Digest([0; 32])),
        ["unpack", archive, into] => {
            unpack::unpack(Path::new(archive), Path::new(into), unpack::Limits::default()).unwrap();
        }
        ["stage", from, into] => stage::link_tree(Path::new(from), Path::new(into)).unwrap(),
        ["room", folder, scratch] => room(Path::new(folder), Path::new(scratch)),
        ["strip", folder, program] => strip_folder(Path::new(folder), Path::new(program)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A room with the folder as the lower layer of its toolchain.
fn room(folder: &Path, scratch: &Path) {
    let made = |name: &str| -> PathBuf {
        let path = scratch.join(name);
        fs_err::create_dir_all(&path).unwrap();
        path
    };
    let toolchain = Mount::Overlay {
        lower: vec![folder.into()],
        upper: Some(made("upper")),
        work: Some(made("work")),
        to: "/mk/root/toolchain".into(),
    };
    let nothing = Program {
        argv: vec!["/bin/true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        log: scratch.join("log"),
        stdout: None,
    };
    let room = Room {
        mounts: vec![toolchain],
        programs: vec![nothing],
        network: false,
        terminal: false,
        limit: None,
    };
    let server = RoomServer::start().unwrap();
    let ran = server.run(&room, &[], &Cancel::new().unwrap()).unwrap();
    assert!(ran.success(), "{ran:?}");
}

fn strip_folder(folder: &Path, program: &Path) {
    let plan = strip::plan(folder, "x86_64-linux-gnu").unwrap();
    plan.unlock(folder).unwrap();
    for call in &plan.calls {
        let mut command = Command::new(program);
        assert!(
            command.args(&call.options).args(&call.files).current_dir(folder).status().unwrap().success()
        );
    }
    plan.relock(folder).unwrap();
}
