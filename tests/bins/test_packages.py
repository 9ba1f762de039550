"""What is published: one package of one name, the same from checkout and sdist, and useful in parts."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from uuid import UUID
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from less_sync.auth import Permission, delegate, encode_did_key
from tests.bins.packages import ROOT, TIMEOUT_S, Installed, build, copy_tracked, link_requirements

SENTENCE = "needs the server's parts: pip install 'less-sync[server]'"
VOLUME_SENTENCE = "Error: the volume server needs its parts: pip install 'less-sync[volume]'\n"
IMPORT_VOLUME = """
import pkgutil, importlib, less_sync.volume, less_sync.bins.volume
rooms = (less_sync.volume, less_sync.bins.volume)
names = [found.name for room in rooms for found in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
for name in (*names, "PIL.Image", "httpcore"):
    importlib.import_module(name)
print(len(names))
"""
CLIENT_SOURCE = ROOT / "clients" / "js" / "src"
TEXT_FOR_LINK = "less_sync/auth is a text file where a symbolic link belongs: "


def ucan() -> str:
    """A token that parses, so that a database is asked about it."""
    root, alice = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    return delegate(
        root,
        audience=encode_did_key(alice.public_key()),
        permission=Permission.READ,
        space_id=UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e"),
        expires_at=4_000_000_000,
        nonce=bytes(16),
        proof=None,
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy_tracked(tmp_path_factory.mktemp("source"))
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy_tracked(tmp_path_factory.mktemp("source"))
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    ZipFile(wheel).extractall(directory)
    return directory


@pytest.fixture(scope="module")
def client_only(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """As `pip install less-sync` leaves it."""
    return Installed((unpacked, link_requirements(tmp_path_factory.mktemp("client") / "site")))


def contents(wheel: Path) -> dict[str, int]:
    """Names and checksums; the list of the wheel itself, which repeats them, is left out."""
    with ZipFile(wheel) as opened:
        return {one.filename: one.CRC for one in opened.infolist() if not one.filename.endswith("RECORD")}


def known_files(folder: Path, *names: str) -> set[str]:
    """The files that git knows below a folder, or below some names in it; a link is none."""
    listed = subprocess.run(
        ["git", "ls-files", *names], cwd=folder, capture_output=True, text=True, check=True
    )
    return {name for name in listed.stdout.split() if (folder / name).is_file()}


def make(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run make as from a shell, though the tests themselves may have been started by make."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def test_a_wheel_holds_one_package_and_its_description(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert tops == {"less_sync", f"{wheel.name.split('-py3')[0]}.dist-info"}


def test_a_wheel_holds_every_file_of_every_room(wheel: Path) -> None:
    rooms = [path.name for path in (ROOT / "less_sync").iterdir() if path.is_symlink()]
    tracked = {f"less_sync/{name}" for name in known_files(ROOT, *rooms)}
    tracked |= {f"less_sync/bins/pages/client/{name}" for name in known_files(CLIENT_SOURCE)}
    tracked |= {"less_sync/__init__.py", "less_sync/py.typed"}
    assert {name for name in contents(wheel) if name.startswith("less_sync/")} == tracked
    code = {".py", ".sql", ".json", ".typed"}
    pages_and_messages = {".html", ".css", ".js", ".ico", ".png", ".proto", ".pyi", ".toml"}
    assert {Path(name).suffix for name in tracked} <= code | pages_and_messages


def test_a_wheel_holds_the_modules_of_the_javascript_client_themselves_where_a_checkout_has_a_link(
    wheel: Path,
) -> None:
    with ZipFile(wheel) as opened:
        for name in known_files(CLIENT_SOURCE):
            assert opened.read(f"less_sync/bins/pages/client/{name}") == (CLIENT_SOURCE / name).read_bytes()


def test_an_sdist_makes_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.3 has no filters yet
        opened.extractall(tmp_path)
    (source,) = tmp_path.iterdir()
    assert contents(build("wheel", source, tmp_path / "again")) == contents(wheel)


def test_a_new_migration_is_not_written_into_an_installed_package(unpacked: Path, tmp_path: Path) -> None:
    before = sorted(unpacked.rglob("*.sql"))
    code = "from less_sync.bins.commands.migrate import main; main()"
    command = [sys.executable, "-c", code, "create", "x"]
    env = {"PATH": os.defpath, "PYTHONPATH": str(unpacked)}

    def create(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *more],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    refused = create()
    place = unpacked / "less_sync" / "migrations"
    told = f"Error: {place} belongs to an installed package: name a folder of yours with --dir\n"
    assert (refused.returncode, refused.stderr) == (1, told)
    assert sorted(unpacked.rglob("*.sql")) == before
    assert create("--dir", ".").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["0101_x.down.sql", "0101_x.up.sql"]


def test_without_the_server_s_libraries_the_client_is_there(client_only: Installed, tmp_path: Path) -> None:
    code = (
        "import less_sync; print(less_sync.SyncClient.__name__, less_sync.__file__);"
        "import less_sync.client.folder.run, less_sync.client.sharing.spaces, less_sync.client.sharing.people"
    )
    done = client_only.run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    name, where = done.stdout.split()
    assert name == "SyncClient"
    assert Path(where).is_relative_to(client_only.path[0])


@pytest.mark.parametrize(
    ("arguments", "status", "out"),
    [
        (("--version",), 0, "less-sync "),
        (("push", "--help"), 0, "Usage: "),
        (("token", "--user", "alice"), 0, "eyJ"),
        (("key", "did", "--user", "alice"), 0, "did:key:zDn"),
        (("push", "notes", "--server", "http://127.0.0.1:1", "--user", "alice"), 6, ""),
        (("config", "--env-file", "missing"), 1, ""),
        (("config",), 0, "LISTEN_ADDR "),
        (("space", "explain", "nonsense", "--space", "8e1b2f0a-3c7d-4d0e-9a55-1c2b3d4e5f60"), 9, ""),
    ],
)
def test_without_the_server_s_libraries_folder_commands_work(
    client_only: Installed, tmp_path: Path, arguments: tuple[str, ...], status: int, out: str
) -> None:
    (tmp_path / "notes").mkdir()
    client_only.command("token", "--user", "alice", cwd=tmp_path)
    done = client_only.command(*arguments, cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
    assert done.stdout.startswith(out)


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (("serve",), "less-sync serve"),
        (("migrate",), "migrate"),
        (("space", "explain", ucan(), "--database-url", "postgres://h/d"), "space explain with a database"),
    ],
    ids=["serve", "migrate", "explain"],
)
def test_without_the_server_s_libraries_its_commands_say_what_is_missing(
    client_only: Installed, tmp_path: Path, arguments: tuple[str, ...], who: str
) -> None:
    done = client_only.command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {who} {SENTENCE}\n")


@pytest.mark.parametrize("words", [("-dir=.", "-ip=127.0.0.1"), ("check", "."), ("export", ".")])
def test_without_the_volume_server_s_libraries_its_command_says_what_is_missing(
    client_only: Installed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = client_only.command("volume", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, VOLUME_SENTENCE)


def test_the_extra_volume_brings_all_that_the_volume_server_imports_and_nothing_of_the_other_server(
    unpacked: Path, tmp_path: Path
) -> None:
    installed = Installed((unpacked, link_requirements(tmp_path / "site", "volume")))
    done = installed.run("-c", IMPORT_VOLUME, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100
    assert installed.command("volume", "-h", cwd=tmp_path).stderr.startswith("Usage: less-sync volume ")
    refused = installed.command("serve", cwd=tmp_path)
    assert refused.stderr == f"Error: less-sync serve {SENTENCE}\n"


def test_a_checkout_whose_links_are_text_files_says_so(tmp_path: Path) -> None:
    checkout = copy_tracked(tmp_path / "checkout", links=False)
    command = [
        sys.executable,
        "-I",
        "-c",
        f"import sys; sys.path[0:0] = [{str(checkout)!r}]; import less_sync",
    ]
    imported = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert imported.returncode == 1
    assert f"ImportError: {TEXT_FOR_LINK}" in imported.stderr
    made = make("serve", cwd=checkout)
    assert made.returncode == 2
    assert made.stderr.startswith(TEXT_FOR_LINK)
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize(("target", "extra"), [("serve", "server,cluster"), ("test", "dev"), ("lint", "dev")])
def test_make_installs_what_the_target_needs_and_no_more(target: str, extra: str, tmp_path: Path) -> None:
    shown = make("-n", target, f"VENV={tmp_path / 'new'}", cwd=ROOT)
    installed = [line.split("--editable ")[1] for line in shown.stdout.splitlines() if "--editable " in line]
    assert installed == [f"'.[{extra}]'"]
