"""Rows 14 and 15: real products. What happened is read from the events of mk (docs/events.md)."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import measure
from check import absent, at_least, at_most, holds

TREE = Path(__file__).resolve().parents[2]
# Board, product, what is built, and what is there before the clock starts.
DEFAULT = ["qemu-x86_64:minimal:rootfs", "qemu-x86_64:router:rootfs:toolchain,linux"]
# The one that row 15 builds a second time, under another name.
FIRST = ("qemu-x86_64", "minimal", ["rootfs"])
JOBS = 2


class Products:
    """`bench` holds the options; `place` is a folder for workspaces and stores."""

    def __init__(self, bench, place):
        self.bench, self.place = bench, place
        # Archives are fetched once for ever.
        self.download = Path(os.environ.get("MK_BENCH_DOWNLOAD", Path.home() / ".cache" / "mk-bench" / "download"))

    def mk(self, name, *words, tree=TREE):
        """Runs mk in the workspace and on the store `name`, and returns its events."""
        workspace = self.place / name
        workspace.mkdir(parents=True, exist_ok=True)
        if not (workspace / "download").exists():
            self.download.mkdir(parents=True, exist_ok=True)
            (workspace / "download").symlink_to(self.download)
        done = subprocess.run(
            [self.bench.mk, "--tree", tree, "--workspace", workspace, "--store", workspace / "store", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        if done.returncode != 0:
            # With --format json, what failed is told on standard output.
            said = [line for line in done.stdout.splitlines() if '"failed"' in line]
            text = "\n".join([*said, done.stderr[-3000:]])
            raise measure.Failed(f"mk {' '.join(words)}: exit status {done.returncode}\n{text}")
        return done.stdout

    def build(self, name, jobs, target, packages, tree=TREE):
        words = ["--offline", "--format", "json", "--jobs", str(jobs), "build", *target, *packages]
        return Run(map(json.loads, self.mk(name, *words, tree=tree).splitlines()))

    def row_14(self):
        if self.bench.quick or self.bench.counts:
            if not self.bench.counts:
                yield absent(14, "a real product, -j2, from nothing", "slots ≥ 90 %; wall ≤ 1.15 ×", "not with --quick")
            return
        for text in self.bench.products or DEFAULT:
            board, product, packages, given = (text.split(":") + ["", ""])[:4]
            target, packages, given = (board, product), packages.split(","), [word for word in given.split(",") if word]
            what = f"{product} ({', '.join(packages)})"
            if not (TREE / "product" / product).is_dir():
                yield absent(14, what, "slots ≥ 90 %; wall ≤ 1.15 ×", f"the tree has no product `{product}`")
                continue
            self.bench.tell(f"fetching the archives of {product}")
            self.mk("fetch", "fetch", *target, *packages)
            runs = {}
            for jobs in (JOBS, 1):
                name = f"{product}-j{jobs}"
                if given:
                    self.bench.tell(f"building {', '.join(given)}, which {what} is given")
                    self.build(name, JOBS, target, given)
                self.bench.tell(f"building {what} from nothing, -j{jobs}")
                runs[jobs] = self.build(name, jobs, target, packages)
            run, alone = runs[JOBS], runs[1]
            path, name = run.critical_path()
            least = max(path, run.cpu / JOBS)
            note = (f"wall {run.wall:.0f} s, one after the other {alone.wall:.0f} s; critical path {path:.0f} s to {name}; "
                    f"CPU {run.cpu:.0f} s, with -j1 {alone.cpu:.0f} s")
            yield at_least(14, f"{what}: use of {JOBS} slots", run.slot_use() * 100, 90, " %",
                           note=f"{len(run.built)} packages built; processors used {run.cpu / (run.wall * JOBS) * 100:.0f} %")
            yield at_most(14, f"{what}: wall", run.wall / least, 1.15, unit=" × max(critical path, CPU ÷ 2)", note=note)

    def row_15(self):
        if self.bench.quick or self.bench.counts:
            if not self.bench.counts:
                yield absent(15, "second product on the same board", "only what differs; ≤ 1.1 ×", "not with --quick")
            return
        board, product, packages = FIRST
        name = f"{product}-j{JOBS}"
        self.mk("fetch", "fetch", board, product, *packages)
        self.build(name, JOBS, (board, product), packages)
        # The same product by another name: what does not ask for the name is the same.
        tree = self.place / "second"
        for part in ("pkg", "board", "product"):
            shutil.copytree(TREE / part, tree / part, symlinks=True)
        shutil.copytree(tree / "product" / product, tree / "product" / "second")
        self.bench.tell("building a second product on the same board")
        run = self.build(name, JOBS, (board, "second"), packages, tree)
        asks = {folder.name for folder in (tree / "pkg").iterdir() if names_product(folder)}
        differs = run.with_dependents(asks)
        yield holds(15, "second product: built", bool(run.built) and run.built <= differs, "only what differs",
                    f"{', '.join(sorted(run.built)) or 'nothing'}", note=f"of {run.packages} packages")
        work = run.busy()
        yield at_most(15, "second product: wall", run.wall / work, 1.1, unit=" × assembling its image",
                      note=f"{run.wall:.2f} s, of that building what differs {work:.2f} s")


def names_product(folder):
    texts = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return any(re.search(rb"\bPRODUCT\b", text) for text in texts)


class Run:
    """What the events of one run add up to."""

    def __init__(self, events):
        self.spans, self.needs, self.built = [], {}, set()
        self.cpu = self.wall = 0.0
        began = {}
        for event in events:
            kind, package = event["event"], event.get("package")
            if kind == "run-started":
                self.packages, self.jobs = event["packages"], event["jobs"]
            elif kind == "planned":
                self.needs[package] = event["needs"]
            elif kind == "work-started":
                began[package, event["work"]] = event["time"]
            elif kind == "work-ended":
                start = began.pop((package, event["work"]))
                self.spans.append((package, event["work"], start, event["time"]))
            elif kind == "package-ended" and event["outcome"] == "built":
                self.built.add(package)
            elif kind == "usage":
                self.cpu = event["cpu"]
            elif kind == "run-ended":
                self.wall = event["elapsed"]

    def spent(self, package, *works):
        return sum(end - start for name, work, start, end in self.spans if name == package and work in works)

    def slot_use(self):
        busy = sum(end - start for _, work, start, end in self.spans if work != "fetch")
        return busy / (self.wall * self.jobs)

    def busy(self):
        """The time in which anything but fetching went on."""
        covered, until = 0.0, 0.0
        for _, work, start, end in sorted(self.spans, key=lambda span: span[2]):
            if work != "fetch" and end > until:
                covered += end - max(start, until)
                until = end
        return covered

    def critical_path(self):
        """The longest way through the graph in seconds, and the package in which it ends. Unpacking waits for nothing."""
        ends = {}

        def end(package):
            if package not in ends:
                ready = max((end(need) for need in self.needs.get(package, [])), default=0.0)
                ready = max(ready, self.spent(package, "fetch", "prepare"))
                ends[package] = ready + self.spent(package, "build")
            return ends[package]

        return max(((end(package), package) for package in self.needs), default=(0.0, "nothing"))

    def with_dependents(self, packages):
        found, before = set(packages), set()
        while found != before:
            before = set(found)
            found |= {name for name, needs in self.needs.items() if found.intersection(needs)}
        return found
