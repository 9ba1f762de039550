"""Databases for the lane `database`: what a used one holds, and all rows of the lane that look at one."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from less_sync.bins.postgres.urls import driver_url
from less_sync.migrations import load
from less_sync.validation.attempt import Row
from less_sync.validation.context import Run
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Procedure, Value
from tests.migrations.support import connected, value
from tests.validation.rig import Rig

LAST: Final = max(load())
SPACE: Final = "00000000-0000-0000-0000-00000000000a"
OTHER: Final = "00000000-0000-0000-0000-00000000000b"
RECORD: Final = "00000000-0000-0000-0000-0000000000b1"
FILE: Final = "00000000-0000-0000-0000-0000000000c1"
SOUND: Final = f"""
INSERT INTO spaces (id, client_id, cursor, metadata_version) VALUES
    ('{SPACE}', 'client', 7, 2), ('{OTHER}', 'client', 0, 0);
INSERT INTO records (id, space_id, blob, cursor, wrapped_dek, deleted) VALUES
    ('{RECORD}', '{SPACE}', 'x', 3, decode(repeat('01', 44), 'hex'), FALSE),
    ('00000000-0000-0000-0000-0000000000b2', '{SPACE}', NULL, 4, NULL, TRUE);
INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor) VALUES
    ('{SPACE}', '{FILE}', 5, decode(repeat('02', 44), 'hex'), '{RECORD}', 7);
INSERT INTO members (space_id, chain_seq, prev_hash, entry_hash, payload, cursor) VALUES
    ('{SPACE}', 1, NULL, sha256('p1'), 'p1', 1), ('{SPACE}', 2, sha256('p1'), sha256('p2'), 'p2', 2);
INSERT INTO federation_signing_keys (kid, private_key, public_key, is_primary) VALUES
    ('one', 'private', 'public', TRUE), ('two', 'private', 'public', FALSE);
"""
"""What writers leave: one space with something of everything, and an empty one."""
SCHEMA_ROWS: Final = ("migrations", "drift", "adoptable", "valid", "age", "bloat", "privileges", "integrity")
"""All but `settings`, for which the tests' Postgres is too careless, and the one that asks no database."""
LANE: Final = (*SCHEMA_ROWS, "settings", "image-agreement")

RUNS: Final = '{"image": "sha256:aa"}'
LAST_RUN: Final = '{"image": "sha256:aa", "succeeded": true}'


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


def looking_at(rig: Rig, url: str, target: str = "staging", **of_run: Any) -> Run:
    """A run whose target has this database."""
    run = rig.run(**of_run)
    run.targets[target].database_url = driver_url(url)
    return run


async def row(
    rig: Rig,
    name: str | Procedure,
    url: str,
    *,
    target: str = "staging",
    parameters: Mapping[str, Value] = {},
    **of_run: Any,
) -> Row:
    run = looking_at(rig, url, target, **of_run)
    return await rig.row(name, target=target, parameters=parameters, run=run)


async def outcomes(
    rig: Rig,
    url: str,
    names: Sequence[str] = LANE,
    *,
    target: str = "staging",
    parameters: Mapping[str, Mapping[str, Value]] = {},
    inputs: Mapping[str, str] = {},
    **of_run: Any,
) -> dict[str, Outcome]:
    """Of the whole lane, those that are not as they are on a sound database of this Postgres."""
    own = {"DATABASE_ROLE": await owner_of(url), **agreeing(rig)}
    run = looking_at(rig, url, target, inputs=own | dict(inputs), **of_run)
    rows = await asyncio.gather(
        *(rig.row(name, target=target, run=run, parameters=parameters.get(name, {})) for name in names)
    )
    found = {row.check.procedure.name: row.outcome for row in rows}
    usual = dict.fromkeys(names, PASSED)
    if await value(url, "SELECT current_setting('fsync')") == "off":
        usual |= {"settings": failed("fsync")}  # a Postgres that the tests started
    return {name: outcome for name, outcome in found.items() if outcome != usual[name]}


def agreeing(rig: Rig) -> dict[str, str]:
    """A command that tells of one image everywhere."""
    folder = rig.folder / "agreeing"
    if not folder.exists():
        folder.mkdir()
        probe(folder, service=RUNS, migrate=RUNS, last_migration=LAST_RUN)
    return {"IMAGE_PROBE_COMMAND": str(folder / "probe")}


async def owner_of(url: str) -> str:
    async with connected(url) as connection:
        return str(await connection.fetchval("SELECT current_user"))


def probe(folder: Path, **images: str) -> dict[str, str]:
    """A command that answers for `service`, `migrate` and `last-migration`."""
    script = folder / "probe"
    cases = "\n".join(f"{name.replace('_', '-')}) echo '{told}';;" for name, told in images.items())
    script.write_text(f"#!/bin/sh\ncase $1 in\n{cases}\n*) exit 3;;\nesac\n")
    script.chmod(0o755)
    return {"IMAGE_PROBE_COMMAND": str(script)}
