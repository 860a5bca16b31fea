"""Rows 10 to 13: single parts of mk beside the programs that do the same."""

import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import measure
from check import at_least, at_most
from driver import figures
from measure import median, ratio


class Parts:
    """`bench` holds the options; `place` is a folder for files; `parts` is the program that holds the parts of mk."""

    def __init__(self, bench, place):
        self.bench, self.place, self.parts = bench, place, bench.parts
        self.size = 16 if bench.quick else 96
        place.mkdir()

    def measure(self, what, commands):
        """Commands are (words, what must be gone before)."""
        self.bench.tell(f"{what}: {', '.join(commands)}")

        def command(words, output):
            def run():
                if output:
                    shutil.rmtree(output, ignore_errors=True)
                return measure.run(words)

            return run

        return measure.rounds({name: command(*pair) for name, pair in commands.items()}, self.bench.rounds, warm=True)

    def row_10(self):
        file, size = self.place / "large", 256
        with open(file, "wb") as large:
            for _ in range(size):
                large.write(os.urandom(1 << 20))
        samples = self.measure("SHA-256", {
            "mk": ([self.parts, "hash", file], None),
            "openssl": (["openssl", "dgst", "-sha256", file], None),
            "sha256sum": (["sha256sum", file], None),
        })
        file.unlink()
        speed = ", ".join(f"{name} {size * 1.048576 / median(some):,.0f} MB/s" for name, some in samples.items())
        yield at_least(10, "SHA-256 of a large archive", ratio(samples["openssl"], samples["mk"]), 0.9, " × openssl", note=speed)

    def row_11(self):
        source, archive, into = self.place / "source", self.place / "source.tar", self.place / "unpacked"
        write_texts(source, self.size << 20)
        subprocess.run(["tar", "-C", self.place, "-cf", archive, "source"], check=True)
        shutil.rmtree(source)
        for suffix, words in {"xz": ["xz", "-1"], "gz": ["gzip", "-3"], "zst": ["zstd", "-q"]}.items():
            packed = f"{archive}.{suffix}"
            with open(packed, "wb") as out:
                subprocess.run([*words, "-c", archive], stdout=out, check=True)
            mine, theirs = into / "mk", into / "tar"
            mine.mkdir(parents=True, exist_ok=True)

            def unpack(words, folder):
                def run():
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                    return measure.run(words)

                return run

            self.bench.tell(f"unpacking .tar.{suffix}")
            samples = measure.rounds({
                "mk": unpack([self.parts, "unpack", packed, mine], mine),
                "tar": unpack(["tar", "-C", theirs, "-xf", packed], theirs),
            }, self.bench.rounds, warm=True)
            if subprocess.run(["diff", "-r", mine, theirs]).returncode != 0:
                raise measure.Failed(f"mk unpacks {packed} otherwise than tar")
            wall = ratio(samples["mk"], samples["tar"], "wall")
            yield at_most(11, f"unpack .tar.{suffix}, {self.size} MiB: CPU", ratio(samples["mk"], samples["tar"]), 1.1, 1.0,
                          " × tar -xf", note=f"{figures(samples)}; wall {wall:.2f} ×")
            shutil.rmtree(into)

    def row_12(self):
        # On a disk, as workspaces are: on a tmpfs a copy costs little more than a link.
        with tempfile.TemporaryDirectory(prefix="mk-bench-", dir="/var/tmp") as place:
            source, into = f"{place}/deployed", f"{place}/staged"
            write_texts(Path(source), 50 << 20, count=5000)
            samples = self.measure("staging 5,000 files", {
                "cp -R": (["cp", "-R", source, into], into),
                "cp -al": (["cp", "-al", source, into], into),
                "mk, no room": ([self.parts, "stage", source, into], into),
                "mk, room": ([self.parts, "room", source, into], into),
            })
        whole = samples["cp -R"]
        yield at_most(12, "staging 5,000 files, in a room", ratio(samples["mk, room"], whole), 0.03, unit=" × cp -R",
                      note=figures(samples) + "; a whole room, with `true` run in it")
        yield at_most(12, "staging 5,000 files, without", ratio(samples["mk, no room"], whole), 0.06, unit=" × cp -R")

    def row_13(self):
        source, folder = self.place / "programs", self.place / "deploy"
        (source / "bin").mkdir(parents=True)
        code = "#include <stdio.h>\n" + "".join(
            f'int f{n}(int x) {{ return printf("%d\\n", x * {n}); }}\n' for n in range(60)) + "int main(void) { return f1(1); }\n"
        subprocess.run(["gcc", "-g", "-O1", "-x", "c", "-", "-o", source / "bin" / "0"], input=code, text=True, check=True)
        for number in range(1, 500):
            shutil.copy(source / "bin" / "0", source / "bin" / str(number))

        def strip(words):
            def run():
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(source, folder)
                return measure.run(words)

            return run

        loop = 'for f in "$1"/bin/*; do if file "$f" | grep -q -i elf; then strip --discard-all "$f"; fi; done'
        self.bench.tell("stripping 500 programs")
        samples = measure.rounds({
            "mk.sh's loop": strip(["bash", "-c", loop, "loop", folder]),
            "one strip": strip(["bash", "-c", 'strip "$1"/bin/*', "strip", folder]),
            "mk": strip([self.parts, "strip", folder, "/usr/bin/strip"]),
        }, self.bench.rounds)
        times = ratio(samples["mk"], samples["mk.sh's loop"])
        yield at_most(13, "500 ELF files found and stripped", times, 0.03, unit=" × mk.sh's loop", note=figures(samples))


def write_texts(folder, size, count=None):
    """Files of words that compress as sources do: `count` of them, or of about 16 KiB each."""
    numbers = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk_"
    words = ["".join(numbers.choices(letters, k=numbers.randint(2, 9))) for _ in range(3000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    count = count or size >> 14
    for number in range(count):
        path = folder / f"{number % 50:02}" / f"{number}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = " ".join(numbers.choices(words, weights, k=size // count // 6))
        path.write_text(text.replace("_ ", ";\n") + "\n")
