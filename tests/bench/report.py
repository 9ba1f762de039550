"""The table of a run, for people and for programs."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.bench.model import Pair, Row
from tests.bench.rows import ROWS

HEAD: Final = (
    "row",
    "floor",
    "server",
    "ratio",
    "reach",
    "existing",
    "reached",
    "server CPU",
    "Postgres CPU",
    "load CPU",
)


def ratio_of(pairs: Sequence[Pair]) -> float:
    """The median of the ratios of neighbouring runs: what slows the machine slows both."""
    return statistics.median(pair.ratio for pair in pairs)


def reached(row: Row, ratio: float) -> bool:
    return ratio >= row.reach if row.at_least else ratio <= row.reach


def table(results: Mapping[str, Sequence[Pair]]) -> str:
    """One Markdown table, a line a row. CPU columns are seconds of the median run; load CPU is its share."""
    lines = [HEAD, tuple("---" for _ in HEAD)]
    lines += [_line(ROWS[name], pairs) for name, pairs in results.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _line(row: Row, pairs: Sequence[Pair]) -> tuple[str, ...]:
    ratio = ratio_of(pairs)
    floors = [pair.floor for pair in pairs if pair.floor is not None]
    server = statistics.median(pair.server for pair in pairs)
    bound = f"{'≥' if row.at_least else '≤'} {row.reach:g}"
    spread = f"{row.shown.format(min(pair.ratio for pair in pairs))}-"
    spread += row.shown.format(max(pair.ratio for pair in pairs))
    return (
        row.name,
        f"{_figure(statistics.median(floors))} {row.unit}: {row.floor}" if floors else "",
        f"{_figure(server)} {row.unit}",
        f"{row.shown.format(ratio)} ({spread})",
        bound,
        row.existing,
        "yes" if reached(row, ratio) else "NO",
        f"{statistics.median(pair.use.server_s for pair in pairs):.2f} s",
        f"{statistics.median(pair.use.postgres_s for pair in pairs):.2f} s",
        f"{statistics.median(pair.use.load_share for pair in pairs):.0%}",
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def as_json(results: Mapping[str, Sequence[Pair]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything measured, every run of it."""
    return {
        **about,
        "rows": [
            {
                "row": ROWS[name].name,
                "floor": ROWS[name].floor or None,
                "unit": ROWS[name].unit,
                "ratio": ratio_of(pairs),
                "reach": ROWS[name].reach,
                "at_least": ROWS[name].at_least,
                "reached": reached(ROWS[name], ratio_of(pairs)),
                "existing_server": ROWS[name].existing or None,
                "runs": [
                    {
                        "floor": pair.floor,
                        "server": pair.server,
                        "ratio": pair.ratio,
                        "server_cpu_s": pair.use.server_s,
                        "postgres_cpu_s": pair.use.postgres_s,
                        "load_cpu_share": pair.use.load_share,
                    }
                    for pair in pairs
                ],
            }
            for name, pairs in results.items()
        ],
    }
