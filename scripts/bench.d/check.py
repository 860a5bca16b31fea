"""One thing that has to hold: what it must come to, what it should, what was measured, and the verdict."""

from dataclasses import asdict, dataclass


@dataclass
class Check:
    """`limit` words are for people; `timed` tells whether noise can change the verdict. `note` says what was compared."""

    row: int
    what: str
    must: str
    aim: str
    measured: str
    verdict: str
    timed: bool
    note: str = ""

    def as_dict(self):
        return asdict(self)


def number(value):
    """Three digits, in full."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def at_most(row, what, value, must, aim=None, unit="", timed=True, note=""):
    verdict = "missed" if value > must else "must" if aim is not None and value > aim else "aim"
    limit = lambda bound: "" if bound is None else f"≤ {number(bound)}{unit}"
    return Check(row, what, limit(must), limit(aim), number(value) + unit, verdict, timed, note)


def at_least(row, what, value, must, unit="", timed=True, note=""):
    verdict = "missed" if value < must else "aim"
    return Check(row, what, f"≥ {number(must)}{unit}", "", number(value) + unit, verdict, timed, note)


def exactly(row, what, value, must, timed=False, note=""):
    verdict = "aim" if value == must else "missed"
    return Check(row, what, f"= {number(must)}", "", number(value), verdict, timed, note)


def holds(row, what, truth, must, measured, note=""):
    return Check(row, what, must, "", measured, "aim" if truth else "missed", False, note)


def absent(row, what, must, why):
    return Check(row, what, must, "", "–", "not measured", True, why)
