"""What `stats` does once its line is read: needs the libraries of the server."""

import asyncio
import json as json_lines
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from less_sync.bins.amounts import columns, share, shown_bytes
from less_sync.bins.backup.last import LastBackupError, read_last_backup
from less_sync.bins.commands.surveying import survey_on
from less_sync.bins.postgres.operator import Database
from less_sync.bins.reporting.start import read_small
from less_sync.fleet.reporter.state import STATE_FILE, StateError, read_kept
from less_sync.storage import PostgresSurveys, Survey, TableSize, Weight

ROWS: Final = {
    "spaces": "spaces",
    "records": "records",
    "files": "files",
    "members": "entries",
    "revocations": "revocations",
    "invitations": "invitations",
}
"""Table to the value that counts its rows."""


class Growth(NamedTuple):
    """What was added since a backup; `rows` is empty where that cannot be told."""

    since: datetime | None
    rows: Mapping[str, int]
    problem: str = ""


class OfFleet(NamedTuple):
    """A fleet plane that this server is registered with."""

    plane: str
    """Its URL."""
    desired_version: str | None
    """Which release it wants here."""


def run(
    database: Database,
    data_dir: Path,
    *,
    top: int,
    exact: bool,
    watch_s: float | None,
    timeout_s: float,
    json: bool,
) -> None:
    """Print the figures, and go on telling what is written if `watch_s` is given.

    Raises:
        CommandError: the database cannot be used, or a question took too long.
    """

    async def work(surveys: PostgresSurveys) -> None:
        survey = await surveys.survey(top=top, exact=exact)
        growth, fleet = growth_of(survey, data_dir), fleet_of(data_dir)
        if json:
            _print(json_lines.dumps(_fields(survey, growth) | {"fleet": fleet and fleet._asdict()}))
        else:
            _print("\n".join(_lines(survey, growth, fleet)))
        if watch_s is not None:
            await _watch(surveys, survey.tables, every_s=watch_s, json=json)

    survey_on(database, work, question_s=timeout_s)


def _print(text: str) -> None:
    print(text, flush=True)


def growth_of(survey: Survey, data_dir: Path) -> Growth:
    """What was added since the newest backup."""
    try:
        backup = read_last_backup(data_dir)
        if backup is None:
            return Growth(None, {}, "no backup was made")
        before = backup.rows()
    except LastBackupError as error:
        return Growth(None, {}, str(error))
    # The backup holds the server's own space, too.
    now = {
        table: survey.values[value] + survey.own.get(table, 0)
        for table, value in ROWS.items()
        if table in survey.percent
    }
    return Growth(backup.finished_at, {name: now[name] - before[name] for name in now if name in before})


def fleet_of(data_dir: Path) -> OfFleet | None:
    """What the reporter of a data directory keeps; None: it keeps nothing that can be read."""
    path = data_dir / STATE_FILE
    try:
        kept = read_kept(path, read_small(path))
    except (OSError, StateError):
        return None
    return OfFleet(kept.plane, kept.desired_version) if kept.plane else None


def _estimated(survey: Survey, table: str) -> str:
    """The mark of what was not counted."""
    return "" if survey.percent[table] == 100 else "~"


def _lines(survey: Survey, growth: Growth, fleet: OfFleet | None) -> Iterator[str]:
    """The figures for people."""
    v = survey.values
    spaces, records, files = (_estimated(survey, name) for name in ("spaces", "records", "files"))
    live = v["records"] - v["tombstones"]
    personal = v["spaces"] - v["shared"]
    mail = _estimated(survey, "invitations")
    database = sum(table.total_bytes for table in survey.tables.values())
    indexes = sum(table.index_bytes for table in survey.tables.values())
    rows: list[tuple[str, ...]] = [
        (
            "spaces",
            f"{spaces}{v['spaces']:,}",
            f"{personal:,} personal, {v['shared']:,} shared; {v['elsewhere']:,} at home elsewhere",
        ),
        ("records", f"{records}{live:,}", f"{records}{shown_bytes(v['blob_bytes'] + v['dek_bytes'])}"),
        (
            "tombstones",
            f"{records}{v['tombstones']:,}",
            f"{share(v['tombstones'], v['records'])} of the rows",
        ),
        ("files", f"{files}{v['files']:,}", f"{files}{shown_bytes(v['content_bytes'])}"),
        ("members", f"{_estimated(survey, 'members')}{v['entries']:,}", "entries of membership logs"),
        ("revocations", f"{_estimated(survey, 'revocations')}{v['revocations']:,}", ""),
        ("invitations", f"{mail}{v['invitations']:,}", f"{mail}{v['expired']:,} of them expired"),
        ("database", shown_bytes(database), f"{shown_bytes(indexes)} of it indexes"),
    ]
    yield from columns(rows)
    yield _growth_line(growth)
    if fleet is not None:
        wants = f" wants release {fleet.desired_version}" if fleet.desired_version else ""
        yield f"fleet        {fleet.plane}{wants}"
    for title, weights in (("bytes", survey.by_bytes), ("records", survey.by_records)):
        if weights:
            yield f"largest by {title}:"
            yield from columns([_weight(one, survey) for one in weights])


def _growth_line(growth: Growth) -> str:
    if growth.since is None:
        return f"growth       not known: {growth.problem}"
    parts = ", ".join(f"{name} {count:+,}" for name, count in growth.rows.items())
    return f"growth       {parts} since the backup of {growth.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _weight(one: Weight, survey: Survey) -> tuple[str, ...]:
    mark = _estimated(survey, "records") or _estimated(survey, "files")
    return f"  {one.space}", f"{mark}{shown_bytes(one.bytes)}", f"{mark}{one.records:,} records"


def _fields(survey: Survey, growth: Growth) -> dict[str, Any]:
    """The figures for programs."""
    return {
        "event": "stats",
        **survey.values,
        "percent_read": survey.percent,
        "tables": {name: asdict(table) for name, table in survey.tables.items()},
        "growth": {"since": growth.since and growth.since.isoformat(), "rows": growth.rows},
        "largest_by_bytes": _weights(survey.by_bytes),
        "largest_by_records": _weights(survey.by_records),
    }


def _weights(found: Sequence[Weight]) -> list[dict[str, Any]]:
    return [{"space": str(one.space), "records": one.records, "bytes": one.bytes} for one in found]


async def _watch(
    surveys: PostgresSurveys, before: Mapping[str, TableSize], *, every_s: float, json: bool
) -> None:
    """Tell what was written in each interval, until interrupted. Asks for the sizes of tables alone."""
    while True:
        await asyncio.sleep(every_s)
        now = await surveys.sizes()
        _print(_written(before, now, json=json))
        before = now


def _written(before: Mapping[str, TableSize], now: Mapping[str, TableSize], *, json: bool) -> str:
    changes = {
        name: {
            "inserted": size.inserted - before[name].inserted,
            "updated": size.updated - before[name].updated,
            "deleted": size.deleted - before[name].deleted,
            "bytes": size.total_bytes - before[name].total_bytes,
        }
        for name, size in now.items()
        if name in before
    }
    at = datetime.now(UTC)
    if json:
        return json_lines.dumps({"event": "written", "at": at.isoformat(), "tables": changes})
    grown = sum(change["bytes"] for change in changes.values())
    told = [
        f"{name} {change['inserted']:,} new, {change['updated']:,} changed, {change['deleted']:,} deleted"
        for name, change in changes.items()
        if change["inserted"] or change["updated"] or change["deleted"]
    ]
    return f"{at:%H:%M:%S}  {'; '.join(told) or 'nothing written'}; {shown_bytes(grown)} grown"
