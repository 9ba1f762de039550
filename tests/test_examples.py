"""The examples: typed as in an application that has the package installed, and run against a real server."""

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import asyncpg
import jwt
import pytest

import less_sync
from less_sync.bins.dev import DevPeople
from less_sync.sync import client
from tests.bins.packages import ROOT, TIMEOUT_S, Installed, build, copy_tracked, link_requirements
from tests.client.sharing.people import Town

NOTES: Final = ROOT / "examples" / "notes"
PRIVATE_TLS: Final = ROOT / "examples" / "federation" / "private_tls.py"
ISSUER: Final = ROOT / "examples" / "issuer.py"
PAGE: Final = ROOT / "docs" / "python.md"
MISTAKES: Final = """\
from less_sync import NoSuchName, PushChange, PushResult, SyncClient


async def wrong(client: SyncClient) -> None:
    result: PushResult = await client.push("space", [PushChange(id="r", expected_cursor="0")])
    result.ok.cursor()
"""


def test_the_package_offers_exactly_what_its_client_lists() -> None:
    assert less_sync.__all__ == list(client.__all__)  # type: ignore[attr-defined]  # made when asked for
    assert {name: getattr(less_sync, name) for name in client.__all__} == {
        name: getattr(client, name) for name in client.__all__
    }
    assert set(client.__all__) <= set(dir(less_sync))
    with pytest.raises(AttributeError, match="no attribute 'NoSuchName'"):
        less_sync.NoSuchName  # type: ignore[attr-defined]  # noqa: B018


def test_importing_a_room_does_not_bring_the_client() -> None:
    code = (
        "import sys; from less_sync import auth, migrations; import less_sync.storage;"
        "print([name for name in sys.modules if name.startswith('less_sync.sync.client')]);"
        "from less_sync import *; print(SyncClient.__module__, split_changes.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    assert done.stdout.splitlines() == ["[]", "less_sync.sync.client.client less_sync.sync.client.client"]


def test_every_name_of_the_client_is_explained_on_its_page() -> None:
    text = PAGE.read_text()
    assert [name for name in client.__all__ if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.parametrize("name", ["notes.py", "share.py", "album.py"])
def test_the_page_shows_the_example_as_it_is(name: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert (NOTES / name).read_text() in blocks


@pytest.fixture
async def town(tmp_path: Path, database_url: str) -> Town:
    """The surroundings of a dev server."""
    return Town(tmp_path, database_url)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an application: a copy of the example, and `site` with the installed wheel."""
    directory = tmp_path_factory.mktemp("application")
    source = copy_tracked(tmp_path_factory.mktemp("source"))
    site = link_requirements(directory / "site")
    with closing(ZipFile(build("wheel", source, directory / "wheel"))) as wheel:
        wheel.extractall(site)
    shutil.copytree(NOTES, directory / "notes")
    shutil.copy(PRIVATE_TLS, directory / "notes")
    return directory


def checked(application: Path, *files: str) -> "subprocess.CompletedProcess[str]":
    """Run mypy as an application does: what is installed counts for what its `py.typed` says it is."""
    venv = application / "venv"
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        (packages,) = venv.glob("lib/python*/site-packages")
        packages.rmdir()
        packages.symlink_to(application / "site")
    command = [sys.executable, "-m", "mypy", "--python-executable", str(venv / "bin" / "python"), *files]
    return subprocess.run(
        command, cwd=application / "notes", capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def test_an_application_is_checked_strictly_against_the_installed_package(application: Path) -> None:
    (application / "notes" / "mistakes.py").write_text(MISTAKES)
    done = checked(application, "notes.py", "share.py", "album.py", "private_tls.py", "mistakes.py")
    errors = [re.sub(r"^(\S+:\d+): error: .*\[(\S+)\]$", r"\1 \2", line) for line in done.stdout.splitlines()]
    assert errors[:-1] == [
        "mistakes.py:1 attr-defined",
        "mistakes.py:5 arg-type",
        "mistakes.py:6 attr-defined",
    ], done.stdout


def test_the_requirements_of_the_example_are_those_of_the_package(application: Path) -> None:
    installed = Installed((application / "site",))
    done = installed.run("-c", "import notes, share, album", cwd=application / "notes")
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Device:
    """One device with the notes of a user."""

    application: Path
    directory: Path
    environment: dict[str, str]

    async def start(self, *words: str, program: str = "notes.py") -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", str(self.application / "notes" / program), *words),
            env={
                "PATH": os.defpath,
                "PYTHONPATH": str(self.application / "site"),
                "NOTES_FILE": str(self.directory),
                **self.environment,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, program: str = "notes.py") -> list[str]:
        process = await self.start(*words, program=program)
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert (process.returncode, err.decode()) == (0, "")
        return out.decode().splitlines()

    async def texts(self) -> list[str]:
        return [line.split(" ", 1)[1] for line in await self.run("list")]


def devices(application: Path, town: Town, names: Sequence[str]) -> list[Device]:
    token = town.parent / "token"
    people = DevPeople(town.data_dir)
    token.write_text(people.token("alice"))
    environment = {
        "NOTES_SERVER": f"ws://127.0.0.1:{town.port}/api/v1/ws",
        "NOTES_TOKEN_FILE": str(token),
        "NOTES_KEY": "7f" * 32,
    }
    return [Device(application, town.parent / f"{name}.json", environment) for name in names]


async def test_notes_of_two_devices_converge_and_no_edit_is_lost(application: Path, town: Town) -> None:
    async with town.server():
        laptop, phone = devices(application, town, ("laptop", "phone"))
        await laptop.run("add", "milk")
        await laptop.run("add", "bread")
        (milk, bread) = [line.split()[0] for line in await phone.run("list")]
        await laptop.run("edit", milk, "oat milk")
        await phone.run("edit", milk, "whole milk")
        await phone.run("remove", bread)

        assert await phone.texts() == ["oat milk", "whole milk"]
        assert await laptop.run("list") == await phone.run("list")

        connection = await asyncpg.connect(town.database_url)
        blobs = [
            row["blob"] for row in await connection.fetch("SELECT blob FROM records WHERE blob IS NOT NULL")
        ]
        await connection.close()
        assert len(blobs) == 2
        assert not [blob for blob in blobs if b"milk" in blob]


async def test_a_device_that_watches_hears_of_a_note_of_another(application: Path, town: Town) -> None:
    async with town.server():
        laptop, phone = devices(application, town, ("laptop", "phone"))
        await laptop.run("add", "milk")
        watching = await phone.start("watch")
        try:
            assert watching.stdout is not None
            async with asyncio.timeout(TIMEOUT_S):
                assert (await watching.stdout.readline()).decode().endswith(" milk\n")
                await laptop.run("add", "bread")
                assert (await watching.stdout.readline()).decode().endswith(" milk\n")
                assert (await watching.stdout.readline()).decode().endswith(" bread\n")
        finally:
            watching.kill()
            await watching.communicate()


async def test_who_was_let_in_reads_until_it_is_taken_back(application: Path, town: Town) -> None:
    async with town.server():
        people = DevPeople(town.data_dir)
        environment = {"SHARE_SERVER": f"ws://127.0.0.1:{town.port}/api/v1/ws"}
        for name in ("alice", "bob"):
            file = town.parent / f"{name}.token"
            file.write_text(people.token(name))
            environment[f"{name.upper()}_TOKEN_FILE"] = str(file)
        both = Device(application, town.parent, environment)
        assert await both.run(program="share.py") == [
            "bob reads: ['dinner at eight']",
            "bob is told: forbidden",
        ]


async def test_a_picture_is_announced_and_comes_back_on_another_device(application: Path, town: Town) -> None:
    content = os.urandom(3 * 1024 * 1024 + 7)
    (town.parent / "beach.raw").write_bytes(content)
    (town.parent / "none.raw").write_bytes(b"")
    async with town.server():
        (laptop,) = devices(application, town, ("album",))
        values = laptop.environment
        album = {name.replace("NOTES", "ALBUM"): value for name, value in values.items()}
        laptop = Device(application, laptop.directory, album)
        watching = await laptop.start("watch", program="album.py")
        assert watching.stdout is not None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                assert await watching.stdout.readline() == b"watching\n"
                (beach,) = await laptop.run("add", str(town.parent / "beach.raw"), program="album.py")
                sealed = len(content) + 4 * 16
                assert (await watching.stdout.readline()).decode() == f"{beach} {sealed} bytes\n"
        finally:
            watching.kill()
            await watching.communicate()
        (none,) = await laptop.run("add", str(town.parent / "none.raw"), program="album.py")
        assert await laptop.run("list", program="album.py") == [f"{beach} beach.raw", f"{none} none.raw"]
        for picture, expected in ((beach, content), (none, b"")):
            copy = town.parent / "copy.raw"
            assert await laptop.run("get", picture, str(copy), program="album.py") == []
            assert copy.read_bytes() == expected
        stored = [path for path in (town.data_dir / "files").rglob("*") if path.is_file()]
        assert len(stored) == 2
        assert not [path for path in stored if content[:64] in path.read_bytes()]


@asynccontextmanager
async def tls_proxy(folder: Path, server: str) -> AsyncIterator[int]:
    """The proxy of the example in front of a server, with a certificate of its own authority; its port."""
    made = await asyncio.create_subprocess_exec(
        sys.executable, str(PRIVATE_TLS), "certificates", str(folder), "127.0.0.1"
    )
    assert await made.wait() == 0
    words = (sys.executable, str(PRIVATE_TLS), "proxy", str(folder / "127.0.0.1.pem"), "127.0.0.1:0", server)
    proxy = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        assert proxy.stdout is not None
        told = re.fullmatch(
            rb"https://127\.0\.0\.1:(\d+) leads to http://(.*)\n", await proxy.stdout.readline()
        )
        assert told is not None
        assert told[2].decode() == server
        yield int(told[1])
    finally:
        proxy.send_signal(signal.SIGINT)
        assert await proxy.wait() == 0


async def test_the_tls_proxy_says_what_it_was_asked_by_and_only_its_authority_vouches_for_it(
    tmp_path: Path,
) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write((await reader.readexactly(4))[::-1])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        async with tls_proxy(tmp_path, address) as port:
            trusting = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            writer.write(b"GET /x HTTP/1.1\r\nHost: h:1\r\nx-forwarded-proto: http\r\n\r\nping")
            assert await reader.read() == b"gnip"
            writer.close()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())
    assert heads == [b"GET /x HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-Proto: https\r\n\r\n"]


async def test_of_issuers_that_start_at_once_one_makes_the_key_which_nobody_else_may_read(
    tmp_path: Path,
) -> None:
    words = (sys.executable, str(ISSUER), "token", "alice")
    started = [
        await asyncio.create_subprocess_exec(*words, cwd=tmp_path, stdout=asyncio.subprocess.PIPE)
        for _ in range(4)
    ]
    tokens = [(await one.communicate())[0].decode().strip() for one in started]
    assert len({jwt.get_unverified_header(token)["kid"] for token in tokens}) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["issuer.pem"]
    assert (tmp_path / "issuer.pem").stat().st_mode & 0o777 == 0o600
    statements = ISSUER.read_text().split('"""', 2)[2].splitlines()
    assert len([line for line in statements if line.strip()]) <= 60, (
        "the page says: all of it, in sixty lines"
    )
