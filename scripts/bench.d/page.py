"""The HTML page of a run: its table, and processor time over the number of packages. It needs nothing but itself."""

import html
import math
import statistics

STYLE = """
:root { --ink: #1c2024; --soft: #60666d; --line: #d9dde1; --paper: #fff; --mk: #0b63c5; --good: #1a7f37; --bad: #c1121f;
	--ninja: #b35900; --make: #7a3ea1; --mk-sh: #c2185b; --floor: #008577; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #9aa2aa; --line: #363c43; --paper: #14171a; --mk: #62a8ff;
	--good: #56c271; --bad: #ff7b72; --c0: #f0a04b; --c1: #c79bf2; --c2: #4fc9b8; --c3: #d8bd4a; --c4: #ff85b3; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 76rem;
	padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p, .note { color: var(--soft); } p { margin: .2rem 0; max-width: 60rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td.n { white-space: nowrap; } .note { font-size: .85em; }
.aim, .must { color: var(--good); } .missed { color: var(--bad); font-weight: 600; } .not { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); gap: 1.8rem; margin-top: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1; } .curve { fill: none; stroke-width: 1.6; }
.curve.mk { stroke-width: 2.6; }
"""

PLOTS = [
    ("no-op", "Nothing to do", "packages"),
    ("plan", "First plan, nothing built", "packages"),
    ("full", "Full build of trivial packages", "packages"),
    ("bare", "The same, mk without rooms", "packages"),
    ("diamond", "Plan of a diamond", "layers"),
]
WORDS = {"aim": "met", "must": "met", "missed": "missed", "not measured": "not measured"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 290, 52, 96, 10, 34


def write(result):
    facts = result["machine"]
    head = (f"{facts['time']}, commit {facts['commit']}, {facts['processor']}, {facts['cores']} cores, Linux {facts['kernel']}, "
            f"load {facts['load']:.1f} at the start, {facts['make']}, ninja {facts['ninja']}. Medians of {result['rounds']} "
            f"rounds in which all took turns, {'quick' if result['quick'] else 'full'} mode, {facts['seconds']} s in all.")
    plots = "".join(plot(phase, title, axis, result["series"]) for phase, title, axis in PLOTS)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>mk: what it costs</title><style>{STYLE}</style>\n<h1>What mk costs</h1>\n<p>{html.escape(head)}</p>\n"
        f"{table(result['checks'])}\n<h2>Processor time</h2>\n<p>User and system time of all processes, both axes "
        f'logarithmic, so that a straight line is a power of the number.</p>\n<div class="plots">{plots}</div>\n</html>\n'
    )


def table(checks):
    rows = "".join(
        f'<tr><td class="n">{check["row"]}<td>{html.escape(check["what"])}'
        + "".join(f'<td class="n">{html.escape(check[column])}' for column in ("must", "aim", "measured"))
        + f'<td class="n {check["verdict"].split()[0]}">{verdict(check)}<td class="note">{html.escape(check["note"])}\n'
        for check in checks
    )
    return ("<h2>What it must show</h2>\n<table><tr><th>#<th>What<th>Must<th>Aim<th>Measured<th>Verdict<th>Beside it\n"
            f"{rows}</table>")


def verdict(check):
    return "aim met" if check["verdict"] == "aim" and check["aim"] else WORDS[check["verdict"]]


def plot(phase, title, axis, series):
    lines = {}
    for item in series:
        # What counts at -j2 is wall time.
        if item["phase"] == phase and not item["peer"].endswith("-j2"):
            seconds = max(statistics.median(item["cpu"]), 1e-4)
            lines.setdefault(item["peer"], []).append((item["packages"], seconds))
    points = [point for line in lines.values() for point in line]
    sizes = sorted({size for size, _ in points})
    if len(sizes) < 2:
        return ""
    low, high = math.floor(math.log10(min(y for _, y in points))), math.ceil(math.log10(max(y for _, y in points)))
    high = max(high, low + 1)
    start, end = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size):
        return LEFT + (math.log10(size) - start) / (end - start) * (WIDTH - LEFT - RIGHT)

    def y(seconds):
        return TOP + (high - math.log10(seconds)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for power in range(low, high + 1):
        at = y(10.0**power)
        out.append(f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{seconds_word(power)}</text>')
    for size in sizes:
        out.append(f'<path class="grid" d="M{x(size):.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        out.append(f'<text x="{x(size):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{size:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{axis}</text>')
    ends = []
    for peer, line in lines.items():
        line.sort()
        colour = "--" + peer.split(" ")[0].replace(".", "-")
        path = "L".join(f"{x(size):.1f} {y(seconds):.1f}" for size, seconds in line)
        mark = " mk" if colour == "--mk" else ""
        out.append(f'<path class="curve{mark}" style="stroke:var({colour})" d="M{path}"/>')
        for size, seconds in line:
            out.append(
                f'<circle cx="{x(size):.1f}" cy="{y(seconds):.1f}" r="{3.4 if mark else 2.6}" style="fill:var({colour})">'
                f"<title>{html.escape(peer)}, {size:,}: {seconds * 1e3:,.1f} ms</title></circle>"
            )
        ends.append([y(line[-1][1]), x(line[-1][0]), peer, colour])
    # Names at the ends of the curves, apart from each other.
    ends.sort()
    for above, below in zip(ends, ends[1:]):
        below[0] = max(below[0], above[0] + 13)
    excess = max(0, ends[-1][0] - (HEIGHT - BOTTOM))
    for at, side, peer, colour in ends:
        out.append(f'<text x="{side + 8:.1f}" y="{at - excess + 4:.1f}" style="fill:var({colour})">{html.escape(peer)}</text>')
    return "".join(out) + "</svg></figure>\n"


def seconds_word(power):
    return f"{10 ** (power + 3):g} ms" if power < 0 else f"{10 ** power:,} s"
