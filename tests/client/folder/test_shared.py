"""What a folder keeps of its shared space: whole, private, and one writer at a time."""

import os
import threading
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from less_sync.auth import Permission, delegate, encode_did_key
from less_sync.client.folder.crypto import RecordCipher, SharedCipher, Undecryptable
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.plaintext import PlainFile
from less_sync.client.folder.shared import Delegation, SharedFile, SharedSpace, grant_of
from tests.client.test_durable import Recorder

SPACE = UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e")
KEY = generate_private_key(SECP256R1())
ONE, TWO = FolderKey(bytes(32)), FolderKey(bytes(range(32)))
FILE = PlainFile("a.txt", 1, b"content")


def ucan(permission: Permission = Permission.WRITE, expires_at: int = 2_000_000_000) -> str:
    return delegate(
        KEY,
        audience=encode_did_key(KEY.public_key()),
        permission=permission,
        space_id=SPACE,
        expires_at=expires_at,
        nonce=bytes(16),
    )


SHARED = SharedSpace(space=SPACE, ucan=ucan(), keys={1: bytes(32)})


def test_what_was_written_is_read_again_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    file = SharedFile(tmp_path)
    assert file.load() is None
    assert file.update(lambda _: SHARED) == SHARED == file.load()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(file.path.parent)) == ["shared.json", "shared.lock"]
    assert SHARED.ucan not in repr(SHARED)


def test_what_was_written_is_on_disk_with_its_name(tmp_path: Path) -> None:
    disk = Recorder()
    SharedFile(tmp_path / "plans", disk=disk).update(lambda _: SHARED)
    assert disk.calls == [
        ("sync", "plans"),
        ("sync", "a temporary file"),
        ("replace", "shared.json"),
        ("sync", ".less-sync"),
    ]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    SharedFile(tmp_path).update(lambda _: SHARED)

    def note(name: str) -> None:
        def add(now: SharedSpace | None) -> SharedSpace:
            assert now is not None
            more = Delegation(did=name, cid=name, permission="read", expires_at=1)
            return msgspec.structs.replace(now, delegated=(*now.delegated, more))

        for _ in range(20):
            SharedFile(tmp_path).update(add)

    threads = [threading.Thread(target=note, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = SharedFile(tmp_path).load()
    assert found is not None
    assert sorted(one.did for one in found.delegated) == ["a"] * 20 + ["b"] * 20


@pytest.mark.parametrize(
    "changes",
    [{"v": 2}, {"keys": {}}, {"keys": {1: b"short"}}, {"ucan": "a.b.c"}, {"space": "x"}],
    ids=str,
)
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, changes: dict[str, object]) -> None:
    file = SharedFile(tmp_path)
    file.update(lambda _: SHARED)
    file.path.write_bytes(msgspec.json.encode(msgspec.to_builtins(SHARED) | changes))
    with pytest.raises(UsageProblem, match="damaged, or of a later version"):
        file.load()


def test_a_grant_says_what_its_holder_may_and_why_it_ended() -> None:
    assert not grant_of(ucan()).read_only
    assert grant_of(ucan(Permission.READ)).read_only
    assert "was revoked" in str(grant_of(ucan()).lost())
    assert "ended on 2001-09-09" in str(grant_of(ucan(expires_at=1_000_000_000)).lost())
    assert SHARED.ucan not in repr(grant_of(SHARED.ucan))


def test_each_epoch_has_its_key_and_a_path_keeps_its_record() -> None:
    old = SharedCipher({1: ONE}, SPACE)
    new = SharedCipher({1: ONE, 2: TWO}, SPACE)
    record = old.record_id("a.txt")
    assert record == new.record_id("a.txt") == RecordCipher(ONE, SPACE).record_id("a.txt")
    sealed = new.seal(record, FILE, epoch=2)
    assert new.open(record, sealed) == FILE
    with pytest.raises(Undecryptable):
        old.open(record, sealed)
    old.learn({2: TWO})
    assert old.open(record, sealed) == FILE
    assert old.knows(2)
    assert not old.knows(3)


def test_a_rewrapped_key_opens_in_the_new_epoch_alone() -> None:
    cipher = SharedCipher({1: ONE, 2: TWO}, SPACE)
    record = cipher.record_id("a.txt")
    sealed = cipher.seal(record, FILE, epoch=1)
    rewrapped = cipher.wrap(cipher.unwrap(sealed.dek), epoch=2)
    assert SharedCipher({2: TWO}, SPACE).unwrap(rewrapped) == cipher.unwrap(sealed.dek)
    with pytest.raises(Undecryptable):
        SharedCipher({1: ONE}, SPACE).unwrap(rewrapped)
    for wrong in (b"", sealed.dek[:-1], sealed.dek[:-1] + bytes(1)):
        with pytest.raises(Undecryptable):
            cipher.unwrap(wrong)
