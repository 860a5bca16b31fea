//! What the parts cost that every run goes through. `cargo bench`.

use divan::Bencher;
use mk::digest::Digest;
use mk::event::Work;
use mk::key::Manifest;
use mk::schedule::{End, Limits, Node, Schedule};

fn main() {
    divan::main();
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
