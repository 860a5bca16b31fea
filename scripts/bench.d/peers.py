"""The work, and who does it: mk, and what one would take in its place. Each runs in a folder of its own and has `build`
and perhaps `plan`, which are commands, and `wipe`, which forgets everything that was built."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import measure

HERE = Path(__file__).resolve().parent


class Workload:
    """A generated tree with its archives."""

    def __init__(self, place, parts, shape, packages, seed, kib=0):
        self.place = place
        self.tree, self.download = place / "tree", place / "download"
        if not place.exists():
            subprocess.run([parts, "tree", place, shape, str(packages), str(seed), str(kib)], check=True)
        graph = json.loads((place / "graph.json").read_text())
        self.packages = packages
        self.tops, self.middle, self.rebuilt = graph["tops"], graph["middle"], set(graph["rebuilt"])
        needs = {package["name"]: package["needs"] or ["toolchain"] for package in graph["packages"]}
        self.needs = {"toolchain": [], **needs, "rootfs": self.tops, "release-bench": ["rootfs"]}

    def recipe(self, package):
        return self.tree / "pkg" / package / "build"

    def edit(self, number):
        """The package in the middle comes out differently."""
        recipe = self.recipe(self.middle)
        recipe.write_text(re.sub(r'^EDITION=.*', f'EDITION="{number}"', recipe.read_text(), flags=re.M))


class Peer:
    """`folder` is where it works."""

    plan = None

    def __init__(self, name, workload):
        self.name, self.workload = name, workload
        self.folder = workload.place / name
        self.folder.mkdir(exist_ok=True)

    def link_downloads(self):
        link = self.folder / "download"
        if not link.is_symlink():
            link.symlink_to(self.workload.download)

    def remove(self, *names):
        for name in names:
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()

    def run_build(self):
        return measure.run(self.build, self.folder)

    def run_plan(self):
        return measure.run(self.plan, self.folder)

    def full_build(self):
        self.wipe()
        return self.run_build()

    def first_plan(self):
        self.wipe()
        return self.run_plan()


class Mk(Peer):
    """The program of this project, with a store of its own."""

    def __init__(self, name, workload, program, rooms="always", jobs=1):
        super().__init__(name, workload)
        self.link_downloads()
        store = self.folder / "store"
        self.words = [program, "--tree", workload.tree, "--store", store, "--rooms", rooms, "--jobs", str(jobs)]
        self.plan = [*self.words, "plan", "bench", "bench"]
        self.build = [*self.words, "--quiet", "bench", "bench"]

    def wipe(self):
        self.remove("store", "src", "bench-bench")

    def built(self):
        """Builds, and returns the names of the packages that were built."""
        done = subprocess.run(
            [*self.words, "--format", "json", "bench", "bench"],
            cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        if done.returncode != 0:
            raise measure.Failed(f"{self.name}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        events = map(json.loads, done.stdout.splitlines())
        ended = (event for event in events if event["event"] == "package-ended")
        return {event["package"] for event in ended if event["outcome"] == "built"}


class Steps(Peer):
    """GNU make or ninja with a file that says just what must be said. Each package is one run of step.sh or, where only
    the driver's own cost counts, of `touch`."""

    FOLDERS = ("stamp", "src", "deploy", "log", "build", "sysroot", "toolchain")

    def __init__(self, name, workload, tool, jobs=1, empty=False):
        super().__init__(name, workload)
        self.link_downloads()
        if tool == "make":
            step = "touch $@" if empty else f"bash {HERE}/step.sh {workload.tree} $(@F)"
            rule = "{out}: {inputs}\n\t@" + step + "\n"
            text, self.file = "all: stamp/release-bench\n", "Makefile"
            self.build = ["make", "--silent", f"-j{jobs}"]
        else:
            step = "touch $out" if empty else f"bash {HERE}/step.sh {workload.tree} $name"
            text, self.file = f"rule step\n  command = {step}\n", "build.ninja"
            rule = "build {out}: step {inputs}\n  name = {name}\n"
            self.build = ["ninja", f"-j{jobs}"]
        self.plan = [tool, "-n"]
        for package, needs in workload.needs.items():
            inputs = [str(workload.recipe(package)), *(f"stamp/{need}" for need in needs)]
            text += rule.format(out=f"stamp/{package}", inputs=" ".join(inputs), name=package)
        (self.folder / self.file).write_text(text)
        self.wipe()

    def wipe(self):
        self.remove(*self.FOLDERS, ".ninja_log", ".ninja_deps")
        for name in self.FOLDERS:
            (self.folder / name).mkdir()


class Floor(Peer):
    """Nothing but the recipes' own steps."""

    def __init__(self, workload):
        super().__init__("floor", workload)
        order = self.folder / "order"
        names = [name for name in workload.needs if name not in ("toolchain", "rootfs", "release-bench")]
        order.write_text("".join(f"{name}\n" for name in names))
        self.build = ["bash", HERE / "floor.sh", workload.tree, self.folder]

    def wipe(self):
        self.remove("build", "deploy", "log")

    def run_build(self):
        return measure.run(self.build, self.folder, stdin=self.folder / "order")


class MkSh(Peer):
    """Pygos's own driver, from a folder that holds its mk.sh and util/."""

    def __init__(self, name, workload, source):
        super().__init__(name, workload)
        self.link_downloads()
        tree = workload.tree
        if not (tree / "mk.sh").exists():
            shutil.copy2(source / "mk.sh", tree)
            shutil.copytree(source / "util", tree / "util")
            # It asks git for a version.
            author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"]
            for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "tree"]):
                subprocess.run(["git", *words], cwd=tree, check=True)
        self.plan = ["bash", HERE / "mk_sh_plan.sh", tree]
        self.build = [tree / "mk.sh", "bench", "bench"]

    def wipe(self):
        self.remove("src", "bench-bench")

    def pretend(self):
        """Makes everything look built, which takes minutes otherwise."""
        log = self.folder / "bench-bench" / "log"
        log.mkdir(parents=True, exist_ok=True)
        for name in self.workload.needs:
            (log / f".{name}").touch()
            (self.folder / "src" / f"{name}-1.0").mkdir(parents=True, exist_ok=True)
