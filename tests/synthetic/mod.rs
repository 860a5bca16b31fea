//! Trees of as many packages as one likes, for tests and for measuring: seeded, so that the same words always give the
//! same tree. Their steps do next to nothing, so what a build costs is what the driver costs.
//!
//! A tree has the board and the product `bench`, a package `toolchain` that all others need, the packages of the
//! [`Graph`], `rootfs`, which needs those that no other needs, and `release-bench`.

#![allow(dead_code, reason = "no user of it uses all of it")]
#![allow(clippy::unwrap_used, reason = "it is part of tests and benchmarks")]

use std::collections::BTreeSet;
use std::path::Path;

use sha2::{Digest, Sha256};

/// Layers of a random graph.
const LAYERS: usize = 6;
/// Packages in a layer of a diamond.
const WIDTH: usize = 2;
/// Headers that a package deploys, and as many files for `lib`.
const FILES: usize = 4;

/// How packages need each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Six layers; each package needs one to three of those below it, at least one of them in the next layer.
    Random,
    /// Two packages in each layer; each needs both of the layer below it. Paths double with every layer.
    Diamond,
    /// Each package needs the one before it.
    Chain,
    /// No package needs another one.
    Wide,
}

impl Shape {
    /// By its name.
    pub fn named(name: &str) -> Option<Shape> {
        [
            ("random", Shape::Random),
            ("diamond", Shape::Diamond),
            ("chain", Shape::Chain),
            ("wide", Shape::Wide),
        ]
        .into_iter()
        .find_map(|(word, shape)| (word == name).then_some(shape))
    }
}

/// A stream of numbers that look random (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// Which package needs which, by number; a package needs only those of lower numbers.
#[derive(Debug, Clone)]
pub struct Graph {
    /// For each package, those that it needs, sorted.
    pub needs: Vec<Vec<usize>>,
}

impl Graph {
    /// Always the same one for the same words.
    pub fn new(shape: Shape, packages: usize, seed: u64) -> Graph {
        let mut numbers = Numbers(seed);
        let needs = (0..packages).map(|package| match shape {
            Shape::Wide => Vec::new(),
            Shape::Chain => package.checked_sub(1).into_iter().collect(),
            Shape::Diamond => {
                let layer = package / WIDTH * WIDTH;
                (layer.saturating_sub(WIDTH)..layer).collect()
            }
            Shape::Random => {
                // The first package of a layer; layers are as equal as they can be.
                let start = |layer: usize| (layer * packages).div_ceil(LAYERS);
                let layer = package * LAYERS / packages;
                if layer == 0 {
                    return Vec::new();
                }
                let (below, own) = (start(layer - 1), start(layer));
                let mut needs = BTreeSet::new();
                if own > below {
                    needs.insert(below + numbers.below(own - below));
                }
                for _ in 0..numbers.below(3) {
                    needs.insert(numbers.below(own));
                }
                needs.into_iter().collect()
            }
        });
        Graph { needs: needs.collect() }
    }

    /// The name of a package.
    pub fn name(&self, package: usize) -> String {
        format!("p{package:05}")
    }

    /// Those that no other needs.
    pub fn tops(&self) -> Vec<usize> {
        let needed: BTreeSet<usize> = self.needs.iter().flatten().copied().collect();
        (0..self.needs.len()).filter(|package| !needed.contains(package)).collect()
    }

    /// A package and all that need it, in turn.
    pub fn dependents(&self, package: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::from([package]);
        for (other, needs) in self.needs.iter().enumerate().skip(package) {
            if needs.iter().any(|need| found.contains(need)) {
                found.insert(other);
            }
        }
        found
    }

    /// What is built again when a package of the graph comes out differently: its dependents, and what puts them together.
    pub fn rebuilt(&self, package: usize) -> BTreeSet<String> {
        let names = self.dependents(package).into_iter().map(|package| self.name(package));
        names.chain(["rootfs".to_owned(), "release-bench".to_owned()]).collect()
    }

    /// A package of the middle third with nine dependents of its own, or with nearly as many.
    pub fn middle(&self) -> usize {
        let count = self.needs.len();
        (count / 3..=count * 2 / 3)
            .filter(|&package| package < count)
            .min_by_key(|&package| self.dependents(package).len().abs_diff(9))
            .unwrap_or(0)
    }

    /// Writes `tree` and `download`, with an archive for each package that holds so many KiB that don't compress, and
    /// `graph.json`, which tells other programs what is there.
    pub fn write(&self, into: &Path, archive_kib: usize) {
        let (tree, download) = (into.join("tree"), into.join("download"));
        fs_err::create_dir_all(&download).unwrap();
        let write = |path: &str, text: &str| {
            let path = tree.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        for package in 0..self.needs.len() {
            let name = self.name(package);
            let archive = archive(&name, &Numbers(package as u64).bytes(archive_kib * 1024));
            let digest = format!("{:x}", Sha256::digest(&archive));
            fs_err::write(download.join(format!("{name}-1.0.tar.gz")), archive).unwrap();
            write(&format!("pkg/{name}/build"), &self.recipe(package, &digest));
        }
        let tops: String = self.tops().iter().map(|&package| self.name(package) + "\n").collect();
        write("pkg/toolchain/build", TOOLCHAIN);
        write("pkg/rootfs/build", ROOTFS);
        write("pkg/release-bench/build", RELEASE);
        write("board/bench/TOOLCHAIN", "TARGET=\"bench-linux-gnu\"\n");
        write("board/bench/ROOTFS", "");
        write("product/bench/BOARDS", "bench\n");
        write("product/bench/ROOTFS", &tops);
        let names = |packages: &[usize]| packages.iter().map(|&p| self.name(p)).collect::<Vec<_>>();
        let packages: Vec<serde_json::Value> = (0..self.needs.len())
            .map(|package| serde_json::json!({"name": self.name(package), "needs": names(&self.needs[package])}))
            .collect();
        let middle = self.middle();
        let description = serde_json::json!({
            "packages": packages,
            "tops": names(&self.tops()),
            "middle": self.name(middle),
            "rebuilt": self.rebuilt(middle),
        });
        fs_err::write(into.join("graph.json"), format!("{description}\n")).unwrap();
    }

    fn recipe(&self, package: usize, digest: &str) -> String {
        let name = self.name(package);
        let needs: Vec<String> = self.needs[package].iter().map(|&need| self.name(need)).collect();
        let needs = if needs.is_empty() { "toolchain".to_owned() } else { needs.join(" ") };
        let numbers = (0..FILES).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        RECIPE
            .replace("@NAME@", &name)
            .replace("@SHA256@", digest)
            .replace("@NEEDS@", &needs)
            .replace("@NUMBERS@", &numbers)
    }
}

/// A source archive with a README and, where it is to be large, a file of these bytes.
fn archive(name: &str, filler: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let readme = format!("source of {name}\n");
    for (file, bytes) in [("README", readme.as_bytes()), ("filler", filler)] {
        if !bytes.is_empty() {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_600_000_000);
            tar.append_data(&mut header, format!("{name}-1.0/{file}"), bytes).unwrap();
        }
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// EDITION is for those who want another output.
const RECIPE: &str = r#"VERSION="1.0"
SRCDIR="@NAME@-${VERSION}"
TARBALL="${SRCDIR}.tar.gz"
URL="file:///nowhere"
SHA256SUM="@SHA256@"
DEPENDS="@NEEDS@"
EDITION="0"

prepare() {
	return
}

build() {
	:
}

deploy() {
	local number

	mkdir -p "$2/include/@NAME@" "$2/lib"
	for number in @NUMBERS@; do
		printf '/* header %s, edition %s */\n#define @NAME@_%s 1\n' "$number" "$EDITION" "$number" \
			>"$2/include/@NAME@/$number.h"
		printf 'file %s of @NAME@\n' "$number" >"$2/lib/@NAME@-$number.txt"
	done
}

check_update() {
	return
}
"#;

/// Programs that stand for a cross toolchain's, and some headers.
const TOOLCHAIN: &str = r#"DEPENDS=""

build() {
	:
}

deploy() {
	local name

	mkdir -p "$TCDIR/bin" "$TCDIR/$TARGET/include" "$TCDIR/$TARGET/lib"
	for name in strip ar ranlib; do
		ln -sf "/usr/bin/$name" "$TCDIR/bin/$TARGET-$name"
	done
	for name in 0 1 2 3 4 5 6 7 8 9; do
		printf '/* header %s of the C library */\n' "$name" >"$TCDIR/$TARGET/include/libc_$name.h"
	done
	save_toolchain
}
"#;

const ROOTFS: &str = r#"DEPENDS=$(cat_file_merge ROOTFS | sort -u)

build() {
	:
}

deploy() {
	echo "$DEPENDS" >"$2/rootfs.img"
}
"#;

const RELEASE: &str = r#"DEPENDS="rootfs"

build() {
	cp "$PKGDEPLOYDIR/rootfs/rootfs.img" .
}

deploy() {
	tar --sort=name --mtime=@0 -cf "$2/release.tar" rootfs.img
}
"#;
