"""What a command costs: processor time, wall time, memory, processes. Knows nothing of what it runs."""

import ctypes
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """A command that had to succeed did not; nothing that was measured beside it is worth anything."""


@dataclass
class Sample:
    """One run. `cpu` is user and system time of all processes, those that outlived their parents too."""

    wall: float
    cpu: float


@dataclass
class Processes:
    """What a command started: programs executed, processes forked (threads are none), what each program opened, and the
    recipes that bash was handed in one text."""

    execs: int = 0
    forks: int = 0
    opened: dict = field(default_factory=Counter)
    given: dict = field(default_factory=Counter)


def adopt_orphans():
    """Lets this process wait for processes whose parents have ended, so that their time counts."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(argv, cwd=None, env=None, stdin=None):
    """Runs a command that must succeed, and all that it leaves behind, to the end."""
    with tempfile.TemporaryFile() as said:
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        began = time.monotonic()
        child = subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **(env or {})}, stdin=source, stdout=said, stderr=said
        )
        wall, cpu = None, 0.0
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            cpu += usage.ru_utime + usage.ru_stime
            if pid == child.pid:
                wall = time.monotonic() - began
                child.returncode = os.waitstatus_to_exitcode(status)
        if stdin:
            source.close()
        if child.returncode != 0:
            said.seek(0)
            raise Failed(f"{' '.join(map(str, argv))}: exit status {child.returncode}\n{said.read()[-2000:].decode(errors='replace')}")
    return Sample(wall, cpu)


def rounds(commands, count, warm=False):
    """Runs commands in turn, so many times. A command is a function that returns a sample; one round goes before and
    does not count if `warm`. Returns the samples by name."""
    samples = {name: [] for name in commands}
    for number in range(-1 if warm else 0, count):
        for name, command in commands.items():
            sample = command()
            if number >= 0:
                samples[name].append(sample)
    return samples


def median(samples, what="cpu"):
    return statistics.median(getattr(sample, what) for sample in samples)


def ratio(samples, base, what="cpu"):
    """The median of the ratios within each round, which a machine that is busy now and then disturbs least."""
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in zip(samples, base, strict=True))


def memory(argv, cwd=None):
    """Peak KiB of the largest process. GNU time starts it, since a process begins with what its parent had."""
    said = subprocess.run(
        [shutil.which("time") or "time", "-f", "peak %M", *argv],
        cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    if said.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: exit status {said.returncode}\n{said.stderr[-2000:]}")
    return int(said.stderr.rsplit("peak ", 1)[1])


CALL = re.compile(r"^(\d+) +(.*)$")
RESUMED = re.compile(r"^<\.\.\. \w+ resumed>")
FORKED = re.compile(r"^(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$")


# A recipe within a bash text that `mk` writes for several; one that bash is told to open is no part of it.
GIVEN = re.compile(r"PKGNAME=([\w.+-]+)\\n(?!if builtin source)")


def processes(argv, cwd=None, opens=False):
    """Counts by strace, free of noise. With `opens` also which files were opened, as (program, path), and which recipes
    were handed to bash without that."""
    calls = "execve,clone,clone3,fork,vfork" + (",open,openat,write" if opens else "")
    length = str(1 << 24 if opens else 4096)
    with tempfile.NamedTemporaryFile("r", errors="replace") as trace:
        done = subprocess.run(
            ["strace", "-f", "-qq", "-e", "signal=none", "-e", f"trace={calls}", "-s", length, "-o", trace.name, *argv],
            cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, argv))}: exit status {done.returncode} under strace\n{done.stdout[-2000:]}")
        return count(trace)


def count(lines):
    '''Reads strace's lines. A call that another process's line interrupts comes in two parts, and a child may be heard
    before the call that made it returns:

    >>> trace = """1 execve("/bin/bash", ["bash"], 0x1) = 0
    ... 1 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>
    ... 2 openat(AT_FDCWD, "pkg/a/build", O_RDONLY) = 3
    ... 1 <... clone resumed>) = 2
    ... 2 execve("/bin/true", ["true"], 0x1) = 0
    ... 2 openat(AT_FDCWD, "/etc/ld.so.cache", O_RDONLY) = 3
    ... 3 write(5, "PKGNAME=b\\\\nV=1\\\\nPKGNAME=c\\\\nif builtin source pkg/c/build", 50) = 50"""
    >>> found = count(trace.splitlines())
    >>> dict(found.opened), dict(found.given), found.execs, found.forks
    ({('bash', 'pkg/a/build'): 1, ('true', '/etc/ld.so.cache'): 1}, {'b': 1}, 2, 1)
    '''
    calls = [CALL.match(line).groups() for line in lines]
    parent = {forked[1]: pid for pid, call in calls if (forked := FORKED.match(call))}
    found, begun, program = Processes(), {}, {}
    for pid, call in calls:
        program.setdefault(pid, program.get(parent.get(pid), ""))
        if call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
            continue
        if RESUMED.match(call):
            call = begun.pop(pid, "") + RESUMED.sub("", call)
        if call.startswith("execve(") and call.endswith(" = 0"):
            found.execs += 1
            program[pid] = os.path.basename(call.split('"')[1])
        elif forked := FORKED.match(call):
            program.setdefault(forked[1], program[pid])
            if "CLONE_THREAD" not in call:
                found.forks += 1
        elif call.startswith(("openat(", "open(")) and re.search(r" = \d+", call):
            found.opened[program[pid], call.split('"')[1]] += 1
        elif call.startswith("write("):
            found.given.update(GIVEN.findall(call))
    return found
