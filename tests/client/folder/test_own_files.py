"""What of this program's own files is never pushed, and what looks like them and is."""

import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from less_sync.auth import b64url_encode
from less_sync.bins.dev import DevIssuer, dev_identity_hash_key
from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.keyfile import FolderKey, save_key
from less_sync.client.folder.own_files import OwnFiles, own_secret
from less_sync.client.folder.plaintext import PlainFile
from less_sync.client.folder.report import Kind
from less_sync.client.folder.scan import scan_folder
from less_sync.client.folder.shared import SharedFile, SharedSpace
from less_sync.client.kept_key import kept_key
from less_sync.validation.attest import KEY_FILE, kept_signing_key
from tests.bins.commands import Finished
from tests.client.folder.devices import CIPHER, Space, make_device
from tests.client.sharing.people import Town

SPACE = UUID(int=7)


def person_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def former_key(file: Path) -> bytes:
    """A key as an earlier release kept it: without a mark."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(person_pem())
    return file.read_bytes()


def test_each_format_of_ours_is_known_by_its_content(tmp_path: Path) -> None:
    save_key(tmp_path / "key", FolderKey(bytes(32)))
    kept_key(tmp_path / "pem")
    SharedFile(tmp_path).update(lambda _: SharedSpace(space=SPACE, ucan="e30.e30.AA", keys={1: bytes(32)}))
    key, pem = (tmp_path / "key").read_bytes(), (tmp_path / "pem").read_bytes()
    shared = (tmp_path / ".less-sync" / "shared.json").read_bytes()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(tmp_path / "key", "key")
    bundle = b"less-sync-invite-1:e30.e30.AA\n"
    signing = kept_signing_key(tmp_path / "validation.key")
    for content, words in (
        (key, "key file"),
        (b"my key is " + key.strip() + b", and", "key file"),
        (archive.getvalue(), "key file"),
        ((tmp_path / "validation.key").read_bytes(), "signing key"),
        (b"export KEY=" + signing.text().encode() + b" # of the gate", "signing key"),
        (pem, "private key"),
        (pem.replace(b"\n", b"\r\n"), "private key"),
        (b"two:\n" + pem + pem, "private key"),
        (shared, "keys of a shared space"),
        (bundle, "an invitation"),
        (b"\xef\xbb\xbf \r\n" + bundle, "an invitation"),
    ):
        assert words in (own_secret(content) or ""), content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"the line starts with less-sync-key-1: and goes on",
        b"less-sync private key\n",
        b"a line that starts with less-sync-signing-key-1: and goes on",
        b"From bob\n\nless-sync-invite-1:e30.e30.AA\n",
        person_pem(),
        person_pem().replace(b"PRIVATE", b"EC PRIVATE"),
        os.urandom(4096),
    ],
)
def test_what_is_not_ours_has_no_reason(content: bytes) -> None:
    own = OwnFiles()
    own.refresh()
    assert own_secret(content) is own.is_in(content) is None


def test_keys_in_use_are_known_by_inode_and_their_copies_by_the_key(tmp_path: Path) -> None:
    config, data, folder = tmp_path / "config", tmp_path / "data", tmp_path / "folder"
    pems = [
        former_key(config / "mine.pem"),
        former_key(config / "spaces" / f"{SPACE}.root.pem"),
        former_key(data / "dev" / "issuer.pem"),
        former_key(data / "dev" / "users" / "alice.pem"),
    ]
    dev_identity_hash_key(data)
    folder.mkdir()
    for number, file in enumerate(sorted(path for path in tmp_path.rglob("*") if path.is_file())):
        os.link(file, folder / f"link-{number}")
    own = OwnFiles(
        (config / "mine.pem", config / "none"), (data / "dev", data / "dev" / "users", config / "none")
    )
    scan = scan_folder(folder, own)
    assert (len(scan.skipped), scan.files) == (5, {})
    for pem in pems:
        lines = pem.splitlines()
        rewrapped = b"\r\n".join([b"mine:", lines[0], b"".join(lines[1:-1]), lines[-1], b""])
        assert own.is_in(pem) is not None
        assert own.is_in(rewrapped) is not None
    assert own.is_in(person_pem()) is None
    (config / "mine.pem").unlink()
    scan_folder(folder, own)
    assert own.is_in(pems[0]) is None, "what is in use is found anew at every walk"


def test_a_bare_signing_key_in_use_is_known_by_its_inode(tmp_path: Path) -> None:
    # One that somebody made by other means: nothing in its text says what it is.
    config, folder = tmp_path / "config", tmp_path / "folder"
    config.mkdir()
    folder.mkdir()
    (config / KEY_FILE).write_text(b64url_encode(os.urandom(32)))
    os.link(config / KEY_FILE, folder / "link")
    scan = scan_folder(folder, OwnFiles((), (config,)))
    assert scan.skipped.keys() == {"link"}
    assert scan.files == {}


def test_some_names_are_ours_alone(tmp_path: Path) -> None:
    for path in (f"a/{SPACE}.root.pem", "b/less-sync/did.pem", "b/did.pem", "b/x.root.pem", "server.pem"):
        former_key(tmp_path / path)
    scan = scan_folder(tmp_path)
    assert scan.skipped.keys() == {f"a/{SPACE}.root.pem", "b/less-sync/did.pem"}
    assert scan.files.keys() == {"b/did.pem", "b/x.root.pem", "server.pem"}


async def test_the_data_directory_of_a_server_is_left_out_whole(tmp_path: Path) -> None:
    DevIssuer(tmp_path / "dev-only").user_key("alice")
    DevIssuer(tmp_path / "never-asked")
    dev_identity_hash_key(tmp_path / "never-asked")
    async with EmbeddedPostgres(tmp_path / "with-postgres"):
        scan = scan_folder(tmp_path)
    assert scan.skipped.keys() == {"dev-only", "never-asked", "with-postgres"}
    assert scan.files == {}
    assert scan.covers("dev-only/dev/issuer.pem")
    with pytest.raises(UsageProblem, match="the data directory of a less-sync server"):
        scan_folder(tmp_path / "dev-only")


def test_folders_that_only_look_like_a_data_directory_are_synced(tmp_path: Path) -> None:
    for path in ("a/dev/issuer.pem", "b/postgres/PG_VERSION", "b/postgres.log", "c/dev/users/x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert scan_folder(tmp_path).skipped == {}


def test_a_folder_that_has_the_name_of_a_data_directory_by_chance_is_synced(tmp_path: Path) -> None:
    (tmp_path / "data" / "dev" / "users").mkdir(parents=True)
    (tmp_path / "data" / "dev" / "table.csv").touch()
    own = OwnFiles.in_use(data_dir=tmp_path / "data")
    assert scan_folder(tmp_path, own).files.keys() == {"data/dev/table.csv"}
    DevIssuer(tmp_path / "data")
    own = OwnFiles.in_use(data_dir=tmp_path / "data")
    assert scan_folder(tmp_path / "data" / "dev", own).skipped.keys() == {"table.csv", "issuer.pem"}


def test_a_secret_that_was_synced_before_is_neither_updated_nor_deleted(tmp_path: Path) -> None:
    space = Space()
    one, two = make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)
    one.write("notes", b"plain")
    one.sync()
    save_key(tmp_path / "key", FolderKey(bytes(32)))
    one.write("notes", (tmp_path / "key").read_bytes())
    one.sync()
    assert one.told(Kind.SKIPPED)[-1] == ("notes", "a key file of less-sync is never pushed")
    two.sync()
    assert two.files() == {"notes": b"plain"}


def test_a_pull_does_not_replace_a_key_in_use(tmp_path: Path) -> None:
    path = f"spaces/{SPACE}.root.pem"
    device = make_device(tmp_path, "a", Space())
    mine = former_key(device.root / path)
    record = CIPHER.record_id(path)
    sealed = CIPHER.seal(record, PlainFile(path, 0, b"another key"), epoch=1)
    device.space.push([(record, sealed, 0)])
    device.sync()
    assert device.files() == {path: mine}
    assert {name for name, _ in device.told(Kind.SKIPPED)} == {path}


@pytest.fixture
async def town(tmp_path: Path, database_url: str) -> AsyncIterator[Town]:
    """The home of one person, who runs a server in it."""
    made = Town(tmp_path, database_url)
    yield made
    await made.end()


def _named(finished: Finished, event: str) -> set[str]:
    lines = [json.loads(line) for line in finished.out.splitlines()]
    return {line["path"] for line in lines if line["event"] == event}


async def test_of_a_home_folder_everything_is_pushed_but_what_is_ours(town: Town) -> None:
    home, alice = town.parent, town.person("alice")
    config, ours = {"XDG_CONFIG_HOME": str(home / ".config")}, home / ".config" / "less-sync"
    (home / "notes.txt").write_text("plain")
    (home / "id.pem").write_bytes(person_pem())
    async with town.server():
        assert (await alice.run("key", "did", **config, LESS_SYNC_USER="")).status == 0
        assert (await alice.run("space", "create", "plans", **config)).status == 0
        did = (await alice.run("key", "did", **config)).out.strip()
        bundle = await alice.run("space", "invite-token", "plans", "--to", did, **config)
        (home / "for-bob.txt").write_text(bundle.out)
        assert (await alice.run("pull", "elsewhere", **config)).status == 0
        (root_key,) = (ours / "spaces").iterdir()
        for name in ("renamed", ".config/less-sync/folder.key.01234567.old"):
            (home / name).write_bytes((ours / "folder.key").read_bytes())
        (home / "copy.txt").write_bytes(root_key.read_bytes())
        former = former_key(ours / "did.pem.01234567.old")
        (home / "former copy").write_bytes(former)
        (home / "state.json").write_bytes((home / "plans" / ".less-sync" / "shared.json").read_bytes())
        os.link(ours / "did.pem", home / "hard-link")
        pushed = [await alice.run("push", ".", "--json", **config) for _ in range(2)]
        pulled = await alice.run("pull", "elsewhere", "--json", **config)
        ignores = home / ".less-syncignore"
        ignores.write_text("\n".join(["elsewhere", *_named(pushed[0], "skipped")]))
        ignored = await alice.run("push", ".", "--json", **config)
        ignores.write_bytes(b"\xff\n")
        broken = await alice.run("push", ".", **config)
    assert [finished.status for finished in (*pushed, pulled, ignored, broken)] == [3, 3, 0, 0, 2]
    assert _named(ignored, "pushed") == {".less-syncignore"}
    assert (broken.out, "Error: .less-syncignore is not UTF-8" in broken.err) == ("", True)
    assert _named(pushed[0], "pushed") == _named(pulled, "pulled") == {"notes.txt", "id.pem"}
    assert _named(pushed[0], "skipped") == _named(pushed[1], "skipped")
    assert _named(pushed[0], "skipped") == {
        ".config/less-sync/did.pem",
        ".config/less-sync/did.pem.01234567.old",
        ".config/less-sync/folder.key",
        ".config/less-sync/folder.key.01234567.old",
        f".config/less-sync/spaces/{root_key.name}",
        "copy.txt",
        "data",
        "for-bob.txt",
        "former copy",
        "hard-link",
        "renamed",
        "state.json",
    }
