"""The rows of the volume bench, what they should reach, and their table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured and what it should reach: as a ratio to the real server, or by itself."""

    name: str
    unit: str
    reach: float
    at_least: bool
    is_ratio: bool = True

    def reached(self, value: float) -> bool:
        return value >= self.reach if self.at_least else value <= self.reach


class Pair(NamedTuple):
    """Two runs, one right after the other. CPU is the server's in one request, 0 if it was not measured."""

    real: float
    ours: float
    real_cpu_us: float = 0.0
    our_cpu_us: float = 0.0

    @property
    def ratio(self) -> float:
        return self.ours / self.real


Pairs = dict[str, Pair]


def _row(name: str, unit: str, *, at_least: float = 0.0, at_most: float = 0.0, is_ratio: bool = True) -> Row:
    return Row(name, unit, at_least or at_most, bool(at_least), is_ratio)


ROWS: Final = {
    row.name: row
    for row in (
        _row("GET 1 KiB", "/s", at_least=1.2),
        _row("GET 64 KiB", "/s", at_least=1.3),
        _row("GET 1 MiB", "/s", at_least=0.75),
        _row("PUT 1 KiB", "/s", at_least=1.0),
        _row("PUT 64 KiB", "/s", at_least=0.9),
        _row("PUT 1 MiB", "/s", at_least=0.9),
        _row("GET 1 KiB p99 at half load", "ms", at_most=2.0),
        _row("PUT 1 KiB p99 at half load", "ms", at_most=2.0),
        _row("start to ready", "s", at_most=0.4, is_ratio=False),
        _row("stop when idle", "s", at_most=0.3, is_ratio=False),
        _row("memory of a million files at rest", "MiB", at_most=20.0, is_ratio=False),
        _row("loading a million files", "s", at_most=1.0, is_ratio=False),
    )
}
HEAD: Final = ("row", "real", "ours", "ratio", "reach", "reached", "real CPU", "our CPU")
TRAFFIC: Final = [name for name in ROWS if name.startswith(("GET", "PUT"))]


def table(results: Mapping[str, Sequence[Pair]]) -> str:
    """One Markdown table. A ratio is the median of those of neighbouring runs, its span in brackets."""
    lines = [HEAD, tuple("---" for _ in HEAD)]
    lines += [_line(ROWS[name], pairs) for name, pairs in results.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def value_of(row: Row, pairs: Sequence[Pair]) -> float:
    """What is held against the reach."""
    return statistics.median(pair.ratio if row.is_ratio else pair.ours for pair in pairs)


def _line(row: Row, pairs: Sequence[Pair]) -> tuple[str, ...]:
    ratios = [pair.ratio for pair in pairs if pair.real]
    middle = [statistics.median(column) for column in zip(*pairs, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else ""
    bound = f"{'≥' if row.at_least else '≤'} {row.reach:g}{'' if row.is_ratio else f' {row.unit}'}"
    reached = "yes" if row.reached(value_of(row, pairs)) else "NO"
    cpu = [f"{value:.0f} µs" if value else "" for value in middle[2:]]
    figures = [f"{_figure(value)} {row.unit}" for value in middle[:2]]
    return (row.name, figures[0], figures[1], spread, bound, reached, cpu[0], cpu[1])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_json(results: Mapping[str, Sequence[Pair]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, every run of it."""
    rows = [
        {
            "row": name,
            "unit": ROWS[name].unit,
            "reach": ROWS[name].reach,
            "at_least": ROWS[name].at_least,
            "is_ratio": ROWS[name].is_ratio,
            "value": value_of(ROWS[name], pairs),
            "reached": ROWS[name].reached(value_of(ROWS[name], pairs)),
            "runs": [pair._asdict() for pair in pairs],
        }
        for name, pairs in results.items()
    ]
    return {**about, "rows": rows}
