"""`make bench`: measure the server against bare Postgres and bare sockets, and print one table."""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.migrations import migrate_up
from tests.bench import usage, volume
from tests.bench.attacks import StalledPulls
from tests.bench.child import Child, raise_open_files
from tests.bench.compare import CHECKOUT, SMALL, WORKS, Size, compare, comparison, program_at
from tests.bench.model import ISSUER, KIB, QUICK, Bench, Pair, Scale
from tests.bench.report import as_json, table
from tests.bench.rows import ONCE, ROWS, SHORT_PULL_RECORDS, STALLED_ROWS, measures
from tests.bench.scraped import LONG, SCRAPED, scraping
from tests.bench.volume_rows import ROWS as VOLUME_ROWS
from tests.wire.issuer import AUDIENCE, Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", help=f"comma-separated, of: {', '.join(ROWS)}")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help=f"compare CPU with the server of another checkout instead; rows: {', '.join(WORKS)}",
    )
    parser.add_argument(
        "--scraped",
        action="store_true",
        help=f"compare CPU with and without metrics asked for each second; rows: {', '.join(SCRAPED)}",
    )
    parser.add_argument("--volume", action="store_true", help="measure the volume server against a real one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here as well")
    parser.add_argument("--quick", action="store_true", help="small and few runs: to see that it works")
    parser.add_argument("--rounds", type=int, help="interleaved runs of each row (5)")
    parser.add_argument("--database-url", help="an empty database; by default an embedded Postgres")
    parser.add_argument("--disk", type=Path, metavar="DIR", help="where folders lie: not in memory (TMPDIR)")
    parser.add_argument("--server-output", action="store_true", help="print what the server printed")
    return parser.parse_args(arguments)


@asynccontextmanager
async def database(url: str | None) -> AsyncIterator[tuple[str, int | None]]:
    """Yield a migrated database and, when it is our own, the process id of its Postgres."""
    if url is not None:
        await migrate_up(url)
        yield url, None
        return
    with tempfile.TemporaryDirectory(prefix="less-sync-bench-") as directory:
        async with EmbeddedPostgres(Path(directory, "data")) as postgres:
            await migrate_up(postgres.url)
            yield postgres.url, postgres.pid


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run of either kind stands on. `settings` lack nothing that a server needs."""

    url: str
    postgres_pid: int | None
    issuer: Issuer = field(repr=False)
    settings: Mapping[str, str]
    load: Child
    disk: Path


@asynccontextmanager
async def setting(options: argparse.Namespace) -> AsyncIterator[Setting]:
    """Start what both kinds of run need: a database, an issuer and the load generator."""
    async with contextlib.AsyncExitStack() as stack:
        url, postgres_pid = await stack.enter_async_context(database(options.database_url))
        issuer = new_issuer()
        key_set_url = await stack.enter_async_context(served_key_set(issuer))
        settings = {
            "DATABASE_URL": url,
            "TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}",
            "AUDIENCES": AUDIENCE,
            "LOG_LEVEL": "warn",
        }
        pem = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        load = await stack.enter_async_context(Child("tests.bench.load", key_pem=pem, issuer=ISSUER))
        disk = stack.enter_context(tempfile.TemporaryDirectory(prefix="less-sync-bench-", dir=options.disk))
        yield Setting(url, postgres_pid, issuer, settings, load, Path(disk))


async def started(
    stack: contextlib.AsyncExitStack,
    of: Setting,
    server: ServerProcess,
    start_server: Callable[[], contextlib.AbstractAsyncContextManager[ServerProcess]],
    scale: Scale,
) -> Bench:
    """Start the processes that measure `server`."""
    floors = await stack.enter_async_context(Child("tests.bench.floors", database_url=of.url))
    attackers = await stack.enter_async_context(Child("tests.bench.attackers"))
    await of.load("target", port=server.port)
    return Bench(
        load=of.load,
        server=server,
        start_server=start_server,
        floors=floors,
        attackers=attackers,
        issuer=of.issuer,
        postgres_pid=of.postgres_pid,
        scale=scale,
        settings=of.settings,
        disk=of.disk,
    )


async def run(options: argparse.Namespace) -> None:
    """Measure this checkout against the floors."""
    scale = QUICK if options.quick else Scale()
    rounds = options.rounds or scale.rounds
    wanted = chosen(options.rows, ROWS)
    async with contextlib.AsyncExitStack() as stack:
        of = await stack.enter_async_context(setting(options))
        refuse_memory(of.disk, wanted)
        server = await stack.enter_async_context(ServerProcess(of.settings, fresh=True))
        another = partial(ServerProcess, of.settings, fresh=True)
        bench = await started(stack, of, server, another, scale)
        postgres = await bench.floors("connect")
        postgres = {name: value for name, value in postgres.items() if isinstance(value, str)}
        if postgres["fsync"] != "on" or postgres["synchronous_commit"] != "on":
            raise SystemExit("the database does not sync to disk: its figures would mean nothing")
        results = await measure(bench, set(wanted), rounds)
        if options.server_output:
            say("\n".join(server.output))
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": rounds}
    about |= {"machine": usage.machine(), "python": sys.version.split()[0], "postgres": postgres}
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps(as_json(results, about), indent=1) + "\n")


async def run_against(options: argparse.Namespace) -> None:
    """Compare this checkout with another."""
    size = SMALL if options.quick else Size()
    if options.rounds:
        size = size._replace(turns=options.rounds)
    names = chosen(options.rows, WORKS)
    async with setting(options) as of:
        refuse_memory(of.disk, names)
        programs = {"other": program_at(options.against.absolute()), "own": program_at(CHECKOUT)}
        taken = await compare(
            of.url, of.settings, of.load, of.disk, programs=programs, names=names, size=size, say=say
        )
    print(comparison(taken))
    if options.json:
        options.json.write_text(json.dumps(taken, indent=1) + "\n")


async def run_scraped(options: argparse.Namespace) -> None:
    """Compare a server whose metrics are asked for every second with one that has none."""
    size = SMALL if options.quick else LONG
    if options.rounds:
        size = size._replace(turns=options.rounds)
    async with setting(options) as of, scraping() as scrapes:
        taken = await compare(
            of.url,
            of.settings,
            of.load,
            of.disk,
            programs={"off": program_at(CHECKOUT), "on": program_at(CHECKOUT)},
            names=chosen(options.rows, SCRAPED),
            size=size,
            say=say,
            works=SCRAPED,
            own_settings=scrapes.settings,
        )
    print(comparison(taken, SCRAPED))
    print(f"\nown: asked {scrapes.answers} times, the last answer had {scrapes.answer_bytes:,} bytes")
    if options.json:
        options.json.write_text(json.dumps(taken, indent=1) + "\n")


def refuse_memory(disk: Path, names: Collection[str]) -> None:
    """End a run that would measure folders or contents of files where syncing them costs nothing."""
    on_disk = any(name.startswith(("folder ", "local ", "s3 ")) for name in names)
    if on_disk and usage.file_system(disk) in ("tmpfs", "ramfs"):
        raise SystemExit(f"{disk} is in memory: --disk names another place for rows of folders and files")


def chosen(rows: str | None, known: Collection[str]) -> list[str]:
    """Which rows were asked for, in the order of the table."""
    names = set(rows.split(",")) if rows else set(known)
    if unknown := names - set(known):
        raise SystemExit(f"unknown rows: {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [name for name in known if name in names]


async def measure(bench: Bench, wanted: set[str], rounds: int) -> dict[str, list[Pair]]:
    """Run every wanted row `rounds` times, floor and server by turns."""
    short_pull, long_pull = str(uuid4()), str(uuid4())
    if "pull" in wanted:
        await bench.floors(
            "fill", space=short_pull, records=SHORT_PULL_RECORDS, blob_bytes=KIB, records_per_push=10
        )
    if wanted & {"long pull", "long pull memory"}:
        say(f"filling a space with {bench.scale.long_pull_records:,} records")
        await bench.floors(
            "fill",
            space=long_pull,
            records=bench.scale.long_pull_records,
            blob_bytes=100,
            records_per_push=100,
        )
    stalled_pulls = StalledPulls([str(uuid4()), str(uuid4())])
    if wanted & STALLED_ROWS:
        await stalled_pulls.fill(bench)
    results: dict[str, list[Pair]] = {name: [] for name in ROWS if name in wanted}
    for names, one_round in measures(short_pull, long_pull, stalled_pulls, bench.scale, program_at(CHECKOUT)):
        if not names & wanted:
            continue
        for number in range(1, (rounds if names.isdisjoint(ONCE) else 1) + 1):
            for name, pair in (await one_round(bench)).items():
                if name in wanted:
                    results[name].append(pair)
                say(f"{name} {number}/{rounds}: {ROWS[name].shown.format(pair.ratio)}")
    return results


def main() -> None:
    raise_open_files()
    options = parse(sys.argv[1:])
    if options.volume:
        scale = volume.SMALL if options.quick else volume.Scale()
        scale = scale._replace(rounds=options.rounds or scale.rounds)
        wanted = chosen(options.rows, VOLUME_ROWS)
        asyncio.run(volume.run(options.disk, scale=scale, wanted=wanted, json_file=options.json))
    elif options.scraped:
        asyncio.run(run_scraped(options))
    else:
        asyncio.run(run_against(options) if options.against else run(options))


if __name__ == "__main__":
    main()
