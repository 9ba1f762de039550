"""The folder commands, as processes that a user starts: a folder of many small files pushed and pulled.

What such a command takes is the disk's as much as its own: so folders lie where syncing costs what it costs a
user, and whatever was written before is on disk when a clock starts.
"""

import asyncio
import os
import resource
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from tests.bench.model import KIB, Bench, Pair, Pairs, Target, Use
from tests.wire.command import kept_variables
from tests.wire.process import Program

FILES_PER_FOLDER: Final = 100
RECORDS_PER_INSERT: Final = 1000
STATE_DIR: Final = ".less-sync"


def make_files(folder: Path, count: int) -> None:
    """`count` files of 1 KiB that no compression makes smaller, a hundred to a folder."""
    for number in range(count):
        inner = folder / f"{number // FILES_PER_FOLDER:04d}"
        if number % FILES_PER_FOLDER == 0:
            inner.mkdir(parents=True)
        (inner / f"{number:06d}.bin").write_bytes(os.urandom(KIB))


def count_files(folder: Path) -> int:
    """How many files a folder holds, without what the commands keep there."""
    return sum(len(files) for where, _, files in os.walk(folder) if STATE_DIR not in Path(where).parts)


@dataclass(frozen=True, slots=True)
class FolderCommands:
    """The folder commands of one checkout, for one user of one server."""

    program: Program
    environment: Mapping[str, str]

    async def __call__(self, verb: str, folder: Path, use: Use) -> float:
        """Run one to its end, once everything written before is on disk: seconds from start to exit."""
        await asyncio.to_thread(os.sync)
        cpu, started = _children_cpu_s(), time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(self.program.python, "-m", self.program.module, verb, str(folder)),
            cwd=self.program.directory,
            env={**kept_variables(), **self.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        seconds = time.perf_counter() - started
        if process.returncode != 0:
            raise RuntimeError(f"less-sync {verb} ended with {process.returncode}: {errors.decode()}")
        use.load_share = (_children_cpu_s() - cpu) / seconds
        return seconds


async def commands_of_new_user(target: Target, program: Program, disk: Path) -> FolderCommands:
    """FolderCommands that work on a personal space where nothing is yet."""
    space = str(uuid4())
    made = await target.load("tokens", count=1, user=f"folder {space}", space=space)
    environment = {
        "LESS_SYNC_SERVER": f"http://127.0.0.1:{target.server.port}",
        "LESS_SYNC_TOKEN": made["tokens"][0],
        "LESS_SYNC_KEY_FILE": str(disk / "folder.key"),
    }
    return FolderCommands(program, environment)


async def pushed(
    target: Target, program: Program, disk: Path, count: int, use: Use
) -> tuple[FolderCommands, float]:
    """Push the folder `files` to a new space: by which commands, and how long it took."""
    source = disk / "files"
    if not source.exists():
        await asyncio.to_thread(make_files, source, count)
    shutil.rmtree(source / STATE_DIR, ignore_errors=True)
    commands = await commands_of_new_user(target, program, disk)
    return commands, await commands("push", source, use)


async def pulled(commands: FolderCommands, disk: Path, count: int, use: Use) -> float:
    """Pull into a folder that does not exist yet: how long it took."""
    folder = disk / f"pulled {uuid4()}"
    seconds = await commands("pull", folder, use)
    found = await asyncio.to_thread(count_files, folder)
    if found != count:
        raise RuntimeError(f"{found} files of {count} were pulled")
    await asyncio.to_thread(shutil.rmtree, folder)
    return seconds


@dataclass(frozen=True, slots=True)
class FolderRows:
    """Push and pull of one folder against bare work on the same files."""

    push_row: str
    pull_row: str
    program: Program

    async def __call__(self, bench: Bench) -> Pairs:
        count, push, pull = bench.scale.folder_files, Use(), Use()
        async with bench.using(push):
            commands, push_s = await pushed(bench, self.program, bench.disk, count, push)
        source = str(bench.disk / "files")
        await bench.floors("checkpoint")
        await asyncio.to_thread(os.sync)
        stored = await bench.floors("store_files", folder=source, records_per_insert=RECORDS_PER_INSERT)
        await asyncio.to_thread(os.sync)
        target = bench.disk / "written"
        written = await bench.floors("write_files", source=source, target=str(target))
        assert stored["files"] == written["files"] == count, (stored, written)
        await asyncio.to_thread(shutil.rmtree, target)
        async with bench.using(pull):
            pull_s = await pulled(commands, bench.disk, count, pull)
        return {
            row: Pair(count / floor_s, count / taken_s, taken_s / floor_s, use)
            for row, floor_s, taken_s, use in (
                (self.push_row, stored["seconds"], push_s, push),
                (self.pull_row, written["seconds"], pull_s, pull),
            )
        }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
