//! What the parts cost that every run goes through. `cargo bench`.

#![allow(clippy::unwrap_used)]

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use divan::Bencher;
use mk::config::{Format, Rooms, Settings};
use mk::digest::Digest;
use mk::event::Work;
use mk::key::Manifest;
use mk::layout::Workspace;
use mk::load::{Loaded, load};
use mk::plan::Planner;
use mk::room::{Cancel, Mount, Program, Room, RoomServer};
use mk::schedule::{End, Limits, Node, Schedule};
use mk::{stage, strip};

use synthetic::{Graph, Shape};

/// Forked while there is one thread.
static ROOMS: OnceLock<RoomServer> = OnceLock::new();

fn main() {
    assert!(ROOMS.set(RoomServer::start().expect("namespaces and overlays")).is_ok());
    divan::main();
}

/// A generated tree, and the settings with which its packages are read.
fn generated(packages: usize) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    Graph::new(Shape::Random, packages, 1).write(folder.path(), 0);
    let settings = Settings {
        again: "mk".to_owned(),
        tree: Some(folder.path().join("tree")),
        workspace: Workspace::new(folder.path()).unwrap(),
        store: folder.path().join("store"),
        jobs: 2,
        keep_going: false,
        offline: true,
        rooms: Rooms::Always,
        format: Format::Plain,
        mirrors: Vec::new(),
        quiet: true,
        verbose: false,
        environment: std::env::vars().collect(),
        broken_jobserver: None,
        evaluation_limit: std::time::Duration::from_secs(60),
    };
    (folder, settings)
}

fn read(settings: &Settings) -> Loaded {
    load(settings, &settings.store().unwrap(), "bench", "bench", &[]).unwrap()
}

/// Reading recipes, all plain but for that of `rootfs`.
#[divan::bench(args = [100, 1_000])]
fn evaluate(bencher: Bencher, packages: usize) {
    let (_folder, settings) = generated(packages);
    bencher.counter(packages).bench_local(|| read(&settings));
}

/// Keys of all packages and a look into an empty store for each.
#[divan::bench(args = [100, 1_000])]
fn plan(bencher: Bencher, packages: usize) {
    let (_folder, settings) = generated(packages);
    let (loaded, store) = (read(&settings), settings.store().unwrap());
    bencher.counter(packages).bench_local(|| {
        let ingredients = loaded.ingredients(true);
        let planner = Planner {
            graph: &loaded.graph,
            ingredients: &ingredients,
            store: &store,
            build_root: &loaded.build_root,
            standing: &loaded.standing,
        };
        planner.plan().unwrap()
    });
}

/// A folder of so many small files.
fn files(into: &Path, count: usize) -> PathBuf {
    let folder = into.join("files");
    for number in 0..count {
        let file = folder.join((number % 50).to_string()).join(number.to_string());
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::write(file, "text").unwrap();
    }
    folder
}

/// A room whose toolchain shows a folder of 5,000 files, with `true` run in it.
#[divan::bench]
fn room(bencher: Bencher) {
    let folder = tempfile::tempdir().unwrap();
    let lower = files(folder.path(), 5_000);
    let program = Program {
        argv: vec!["/bin/true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        log: folder.path().join("log"),
        stdout: None,
    };
    let cancel = Cancel::new().unwrap();
    let top = || tempfile::tempdir_in(folder.path()).unwrap();
    bencher.with_inputs(|| (top(), top())).bench_local_values(|(upper, work)| {
        let toolchain = Mount::Overlay {
            lower: vec![lower.clone()],
            upper: Some(upper.path().into()),
            work: Some(work.path().into()),
            to: "/mk/root/toolchain".into(),
        };
        let room = Room {
            mounts: vec![toolchain],
            programs: vec![program.clone()],
            network: false,
            terminal: false,
            limit: None,
        };
        assert!(ROOMS.get().unwrap().run(&room, &[], &cancel).unwrap().success());
        (upper, work)
    });
}

/// Staging the same without a room.
#[divan::bench]
fn link(bencher: Bencher) {
    let folder = tempfile::tempdir().unwrap();
    let from = files(folder.path(), 5_000);
    bencher.with_inputs(|| tempfile::tempdir_in(folder.path()).unwrap()).bench_local_values(|to| {
        stage::link_tree(&from, to.path()).unwrap();
        to
    });
}

/// Finding what is to be stripped among 500 programs; stripping them is strip's own time.
#[divan::bench]
fn strip_plan(bencher: Bencher) {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs_err::create_dir(&bin).unwrap();
    for number in 0..500 {
        fs_err::copy("/bin/true", bin.join(number.to_string())).unwrap();
    }
    bencher.bench_local(|| strip::plan(folder.path(), "x86_64-linux-gnu").unwrap());
}

/// Hashing an archive: bytes a second.
#[divan::bench(args = [1 << 20, 64 << 20])]
fn hash(bencher: Bencher, bytes: usize) {
    let data = vec![0x5a; bytes];
    bencher.counter(divan::counter::BytesCount::new(bytes)).bench(|| Digest::of_reader(&data[..]).ok());
}

/// Writing down and hashing a package's ingredients.
#[divan::bench]
fn key(bencher: Bencher) {
    let mut manifest = Manifest::default();
    for number in 0..30 {
        manifest.set(format!("variable NAME_{number}"), format!("value {number}"));
        manifest.set(format!("function step_{number}"), "build () \n{ \n    make -j $NUMJOBS\n}\n".repeat(5));
    }
    bencher.bench(|| manifest.digest());
}

/// A chain of layers, each package needing three of the layer below, driven from start to end.
#[divan::bench(args = [1_000, 10_000])]
fn schedule(bencher: Bencher, packages: usize) {
    let nodes: Vec<Node> = (0..packages)
        .map(|package| Node {
            package,
            work: Work::Build,
            weight: (package % 17) as f64,
            needs: (1..=3).filter_map(|back| package.checked_sub(100 + back)).collect(),
        })
        .collect();
    bencher.with_inputs(|| nodes.clone()).bench_values(|nodes| {
        let limits = Limits { jobs: 8, downloads: 4 };
        let mut schedule = Schedule::new(nodes, limits, false).expect("the graph has no cycle");
        let mut running = Vec::new();
        while !schedule.is_over() {
            while let Some(id) = schedule.start_next() {
                running.push(id);
            }
            if let Some(id) = running.pop() {
                schedule.finish(id, End::Done);
            }
        }
    });
}

/// Unpacking an archive of a thousand small files.
#[divan::bench]
fn unpack(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let archive = folder.path().join("a.tar.gz");
    let compressed = flate2::write::GzEncoder::new(
        fs_err::File::create(&archive).expect("an archive"),
        flate2::Compression::fast(),
    );
    let mut builder = tar::Builder::new(compressed);
    for number in 0..1_000 {
        let mut header = tar::Header::new_gnu();
        header.set_size(2_000);
        header.set_mode(0o644);
        let path = format!("top/{}/{number}", number % 30);
        builder.append_data(&mut header, path, &[b'x'; 2_000][..]).expect("an entry");
    }
    builder.into_inner().and_then(flate2::write::GzEncoder::finish).expect("the archive's end");
    bencher.with_inputs(|| tempfile::tempdir().expect("a folder")).bench_values(|into| {
        mk::unpack::unpack(&archive, into.path(), mk::unpack::Limits::default())
            .expect("an archive that unpacks");
        into
    });
}
