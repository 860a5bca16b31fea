"""Rows 1 to 9: what the driver costs, on generated trees."""

import math
import os
import re
from collections import Counter

import measure
from check import absent, at_least, at_most, exactly, holds
from measure import median, ratio
from peers import Floor, Mk, MkSh, Steps

# What is written to the recipe's end: a variable that no step uses.
UNUSED = 'UNUSED="{}"\n'


class Driver:
    """`bench` holds the options and makes workloads; `series` collects what is plotted: (phase, peer, packages) → samples."""

    def __init__(self, bench):
        self.bench = bench
        self.series = {}
        self.seen = {}
        self.sizes = [100, 1000] if bench.quick else [100, 1000, 5000]
        self.built = set()

    # Workloads and peers, each made once.

    def work(self, packages, shape="random", kib=0):
        return self.bench.workload(shape, packages, kib)

    def peer(self, name, workload, use=""):
        """With another `use`, in another folder: a plan wants nothing built, a no-op everything."""
        key = (workload.place, name, use)
        if key not in self.seen:
            mk, folder = self.bench.mk, re.sub(r"\W+", "-", name).strip("-") + use
            self.seen[key] = {
                "mk": lambda: Mk(folder, workload, mk),
                "mk -j2": lambda: Mk(folder, workload, mk, jobs=2),
                "mk without rooms": lambda: Mk(folder, workload, mk, rooms="never"),
                "make": lambda: Steps(folder, workload, "make"),
                "ninja": lambda: Steps(folder, workload, "ninja"),
                "ninja -j2": lambda: Steps(folder, workload, "ninja", jobs=2),
                "make (empty)": lambda: Steps(folder, workload, "make", empty=True),
                "ninja (empty)": lambda: Steps(folder, workload, "ninja", empty=True),
                "floor": lambda: Floor(workload),
                "mk.sh": lambda: MkSh(folder, workload, self.bench.mk_sh),
            }[name]()
        return self.seen[key]

    def peers(self, workload, *names, use="", mk_sh=0):
        """These, and mk.sh where there is one and it would not take minutes: for up to so many packages."""
        slow = ["mk.sh"] if self.bench.mk_sh and workload.packages <= mk_sh else []
        return {name: self.peer(name, workload, use) for name in [*names, *slow]}

    def up_to_date(self, peer):
        """Builds once, if that was not done yet."""
        if id(peer) not in self.built:
            self.bench.tell(f"building {peer.workload.packages} packages with {peer.name}")
            peer.pretend() if isinstance(peer, MkSh) else peer.full_build()
            self.built.add(id(peer))

    def measure(self, phase, packages, commands, warm=False):
        self.bench.tell(f"{phase}, {packages} packages: {', '.join(commands)}")
        samples = measure.rounds(commands, self.bench.rounds, warm)
        for name, some in samples.items():
            self.series[phase, name, packages] = some
        return samples

    # The phases.

    def no_op(self, packages):
        """Everything is up to date. make and ninja have empty steps, so that nothing but stamps is there to look at."""
        key = ("no-op", "mk", packages)
        if key not in self.series:
            peers = self.peers(self.work(packages), "mk", "ninja (empty)", "make (empty)", mk_sh=5000)
            for peer in peers.values():
                self.up_to_date(peer)
            self.measure("no-op", packages, {name: peer.run_build for name, peer in peers.items()}, warm=True)
        return {name: some for (phase, name, size), some in self.series.items() if (phase, size) == ("no-op", packages)}

    def plan(self, packages):
        key = ("plan", "mk", packages)
        if key not in self.series:
            peers = self.peers(self.work(packages), "mk", "ninja (empty)", "make (empty)", use="-plan", mk_sh=1000)
            self.measure("plan", packages, {name: peer.first_plan for name, peer in peers.items()})
        return {name: some for (phase, name, size), some in self.series.items() if (phase, size) == ("plan", packages)}

    def full(self, packages, *names):
        peers = self.peers(self.work(packages), *names, mk_sh=100)
        fresh = {name: peer for name, peer in peers.items() if ("full", name, packages) not in self.series}
        if fresh:
            self.measure("full", packages, {name: peer.full_build for name, peer in fresh.items()})
            self.built.update(id(peer) for peer in fresh.values())
        return {name: self.series["full", name, packages] for name in peers}

    # The rows.

    def row_1(self):
        for packages in [] if self.bench.counts else self.sizes[1:]:
            samples = self.no_op(packages)
            mk, ninja = samples["mk"], samples["ninja (empty)"]
            yield at_most(1, f"no-op, {packages:,} packages", ratio(mk, ninja), 1.5, 1.0, " × ninja", note=figures(samples))
            if self.bench.mk_sh:
                times = ratio(samples["mk.sh"], mk)
                yield at_least(1, f"no-op, {packages:,} packages", times, 250, " × below mk.sh")
            else:
                yield absent(1, f"no-op, {packages:,} packages", "≥ 250 × below mk.sh", "--mk-sh names no mk.sh")
        # What no clock is needed for: the processes, and whether any archive is looked into.
        workload = self.work(200)
        mk = self.peer("mk", workload)
        self.up_to_date(mk)
        mk.run_build()
        found = measure.processes(mk.build, mk.folder, opens=True)
        archives = sum(times for (_, path), times in found.opened.items() if path.endswith(".tar.gz"))
        yield exactly(1, "no-op: processes", found.execs + found.forks, 1)
        yield exactly(1, "no-op: archives opened", archives, 0)

    def row_2(self):
        if not self.bench.counts:
            packages = 1000
            samples = self.plan(packages)
            make = ratio(samples["mk"], samples["make (empty)"])
            yield at_most(2, f"first plan, {packages:,} packages", make, 0.4, 0.2, " × make -n", note=figures(samples))
        workload = self.work(200)
        mk = self.peer("mk", workload, use="-plan")
        mk.wipe()
        found = measure.processes(mk.plan, mk.folder, opens=True)
        recipes = {os.path.realpath(workload.recipe(name)): name for name in workload.needs}
        read = Counter({name: 0 for name in recipes.values()})
        for (program, path), times in found.opened.items():
            name = recipes.get(os.path.realpath(path))
            if program == "bash" and name:
                read[name] += times
        read.update({name: times for name, times in found.given.items() if name in read})
        most, least = max(read.values()), min(read.values())
        measured = f"{number_range(least, most)} × of each"
        yield holds(2, "first plan: recipes evaluated", most == least == 1, "once each", measured, "as bash opens them or is given their text")

    def row_3(self):
        if self.bench.counts:
            return
        layers = (4, 8, 12, 16)
        times = {}
        for count in layers:
            workload = self.work(2 * count, "diamond")
            peers = self.peers(workload, "mk", "ninja (empty)", "make (empty)", mk_sh=24)
            commands = {name: peer.first_plan for name, peer in peers.items()}
            times[count] = self.measure("diamond", count, commands)
        last = times[16]["mk"]
        cpu, wall = median(last) * 1e3, median(last, "wall") * 1e3
        yield at_most(3, "plan of a diamond, 16 layers: CPU", cpu, 30, unit=" ms", note=f"wall {wall:.1f} ms")
        growth = (cpu / 1e3 / median(times[8]["mk"])) ** (1 / 8)
        yield at_most(3, "plan of a diamond: growth a layer", growth, 1.05, note="8 → 16 layers")

    def row_4(self):
        if self.bench.counts:
            return
        for packages in [100] if self.bench.quick else [100, 1000]:
            samples = self.full(packages, "mk", "floor", "make", "ninja", "mk -j2", "ninja -j2")
            yield at_most(4, f"full build, {packages:,} packages: CPU", ratio(samples["mk"], samples["floor"]), 5, 3,
                          " × floor", note=figures(samples))
            wall = ratio(samples["mk -j2"], samples["ninja -j2"], "wall")
            yield at_most(4, f"full build, {packages:,} packages, -j2: wall", wall, 0.5, None, " × ninja",
                          note=figures(samples, "wall"))

    def row_5(self):
        if self.bench.counts:
            return
        for packages in [100] if self.bench.quick else [100, 1000]:
            workload = self.work(packages)
            peers = self.peers(workload, "mk without rooms", "floor")
            samples = self.measure("bare", packages, {name: peer.full_build for name, peer in peers.items()})
            times = ratio(samples["mk without rooms"], samples["floor"])
            yield at_most(5, f"the same without rooms, {packages:,} packages: CPU", times, 2.5, 1.5, " × floor",
                          note=figures(samples))

    def row_6(self):
        workload = self.work(100)
        counted = {}
        for name, peer in self.peers(workload, "mk", "make", mk_sh=100).items():
            peer.wipe()
            self.bench.tell(f"counting processes of a full build with {name}")
            counted[name] = measure.processes(peer.build, peer.folder)
            self.built.add(id(peer))
        each = {name: found.execs / len(workload.needs) for name, found in counted.items()}
        forks = counted["mk"].forks / len(workload.needs)
        note = ", ".join(f"{name} {value:.1f}" for name, value in each.items() if name != "mk")
        yield at_most(6, "programs executed a package, in rooms", each["mk"], 4, 3, timed=False,
                      note=f"{note}; mk forks {forks:.1f}")

    def row_7(self):
        packages = 200 if self.bench.counts else 1000
        workload = self.work(packages)
        mk = self.peer("mk", workload)
        self.up_to_date(mk)
        recipe = workload.recipe(workload.middle)
        text = recipe.read_text()
        what = f"`{workload.middle}` of {packages:,} changed"
        names = lambda found: f"{len(found)} built"

        workload.edit("other")
        built = mk.built()
        yield holds(7, f"{what}: built again", built == workload.rebuilt, f"= {len(workload.rebuilt)}, its dependents",
                    names(built))
        recipe.write_text(recipe.read_text() + UNUSED.format(0))
        built = mk.built()
        yield holds(7, f"{what}, output stays: built again", built == {workload.middle}, "= 1", names(built))
        recipe.write_text(recipe.read_text() + "# a comment\n")
        built = mk.built()
        yield holds(7, "a comment added: built again", not built, "= 0", names(built))
        os.utime(recipe)
        built = mk.built()
        yield holds(7, "touched: built again", not built, "= 0", names(built))

        if not self.bench.counts:
            peers = self.peers(workload, "ninja", "mk")
            for peer in peers.values():
                self.up_to_date(peer)
                peer.run_build()
            numbers = iter(range(1, 1000))

            def first():
                # Both see the same change.
                workload.edit(next(numbers))
                return peers["ninja"].run_build()

            samples = self.measure("change", packages, {"ninja": first, "mk": peers["mk"].run_build})
            yield at_most(7, f"{what}: CPU", ratio(samples["mk"], samples["ninja"]), 0.5, 0.25, " × ninja",
                          note=figures(samples))
        recipe.write_text(text)

    def row_8(self):
        if self.bench.counts:
            return
        small, large = (100, 1000) if self.bench.quick else (1000, 10_000)
        phases = {"no-op": self.no_op, "plan": self.plan}
        if not self.bench.quick:
            phases["full"] = lambda packages: self.full(packages, "mk")
        for phase, run in phases.items():
            cpu = {packages: median(run(packages)["mk"]) for packages in (small, large)}
            slope = math.log(cpu[large] / cpu[small]) / math.log(large / small)
            note = " → ".join(f"{value * 1e3:.1f} ms" for value in cpu.values())
            yield at_most(8, f"growth of {phase}, {small:,} → {large:,}: N to the power of", slope, 1.05, note=note)
        if self.bench.quick:
            yield absent(8, "growth, 1,000 → 10,000: full", "≤ 1.05", "not with --quick")

    def row_9(self):
        if self.bench.counts:
            return
        for packages in self.sizes[1:]:
            peers = self.peers(self.work(packages), "mk", "ninja (empty)", "make (empty)")
            peaks = {}
            for name, peer in peers.items():
                self.up_to_date(peer)
                peer.run_build()
                peaks[name] = sorted(measure.memory(peer.build, peer.folder) for _ in range(self.bench.rounds))
            middle = {name: some[len(some) // 2] / 1024 for name, some in peaks.items()}
            note = ", ".join(f"{name} {value:.1f} MB" for name, value in middle.items())
            yield at_most(9, f"peak memory of a no-op, {packages:,} packages", middle["mk"] / middle["ninja (empty)"], 3, 2,
                          " × ninja", note=note)

    def small(self):
        """What only the plots show."""
        for packages in (10, 100):
            self.no_op(packages)
            self.plan(packages)
        self.full(10, "mk", "floor", "make", "ninja")


def number_range(least, most):
    return f"{least}" if least == most else f"{least} to {most}"


def figures(samples, what="cpu"):
    return ", ".join(f"{name} {median(some, what) * 1e3:,.1f} ms" for name, some in samples.items())
