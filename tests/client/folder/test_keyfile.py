"""The key file: made once, never overwritten, told from damaged and from foreign ones."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from less_sync.client.durable import Disk
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.keyfile import (
    FolderKey,
    default_key_path,
    import_key,
    load_key,
    load_or_create_key,
    parse_key,
    save_key,
    set_aside,
)
from tests.client.test_durable import Recorder


def test_a_key_is_made_on_first_use_with_mode_0600_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "conf" / "folder.key"
    key, made = load_or_create_key(path)
    assert made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_or_create_key(path) == (key, False)
    assert os.listdir(path.parent) == ["folder.key"]


def test_commands_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "folder.key"
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: load_or_create_key(path), range(16)))
    assert len({key for key, _ in results}) == 1
    assert [made for _, made in results].count(True) == 1


def test_the_line_parses_to_the_same_key_and_the_fingerprint_is_not_the_key() -> None:
    key = FolderKey(bytes(range(32)))
    assert parse_key(f"  {key.line()}\n") == key
    assert len(key.fingerprint) == 8
    assert key.fingerprint not in key.secret.hex()


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_damaged_line_is_refused_without_repeating_it(cut: int) -> None:
    line = FolderKey(bytes(range(32))).line()
    swapped = line[:-cut] + ("A" if line[-cut] != "A" else "B") + line[len(line) - cut + 1 :]
    for damaged in (line[:-cut], swapped, line + "!"):
        with pytest.raises(UsageProblem) as caught:
            parse_key(damaged)
        assert damaged[16:40] not in f"{caught.value}{caught.value.hint}"


def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "folder.key"
    path.write_bytes(b"\x00\xffphoto")
    with pytest.raises(UsageProblem, match="not a key file"):
        load_or_create_key(path)
    assert path.read_bytes() == b"\x00\xffphoto"
    assert base64.urlsafe_b64encode(b"photo").decode() not in str(path)


def test_saving_over_a_name_that_is_taken_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder.key"
    assert save_key(path, FolderKey(bytes(32)))
    assert not save_key(path, FolderKey(bytes(31) + b"\x01"))
    assert load_key(path) == FolderKey(bytes(32))


def test_importing_over_another_key_needs_force_and_keeps_the_former(tmp_path: Path) -> None:
    path, former, new = tmp_path / "folder.key", FolderKey(bytes(32)), FolderKey(b"\x07" * 32)
    assert import_key(path, former, force=False) is None
    assert import_key(path, former, force=False) is None
    with pytest.raises(UsageProblem, match=former.fingerprint):
        import_key(path, new, force=False)
    kept = import_key(path, new, force=True)
    assert kept is not None
    assert (load_key(path), load_key(kept)) == (new, former)


class Overtaken(Disk):
    """Somebody else puts a key there just before our name is made."""

    def __init__(self, key: FolderKey) -> None:
        self.key: FolderKey | None = key

    def link(self, source: Path, target: Path) -> None:
        key, self.key = self.key, None
        if key is not None:
            assert save_key(target, key)
        super().link(source, target)


def test_an_import_that_another_command_overtook_says_so_and_leaves_its_key(tmp_path: Path) -> None:
    path, theirs, ours = tmp_path / "folder.key", FolderKey(bytes(32)), FolderKey(b"\x07" * 32)
    with pytest.raises(UsageProblem, match=f"holds another key .{theirs.fingerprint}."):
        import_key(path, ours, force=False, disk=Overtaken(theirs))
    assert load_key(path) == theirs

    path.unlink()
    kept = import_key(path, ours, force=True, disk=Overtaken(theirs))
    assert kept is not None
    assert (load_key(path), load_key(kept)) == (ours, theirs)

    path.unlink()
    assert import_key(path, ours, force=False, disk=Overtaken(ours)) is None


def test_of_imports_by_force_at_once_no_key_is_lost(tmp_path: Path) -> None:
    path, keys = tmp_path / "folder.key", [FolderKey(bytes([n]) * 32) for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: import_key(path, key, force=True), keys))
    found = [load_key(file) for file in tmp_path.iterdir()]
    assert {key.secret for key in found} == {key.secret for key in keys}
    assert load_key(path) in keys


def test_a_former_key_is_kept_under_a_name_that_no_other_file_has(tmp_path: Path) -> None:
    path, former, new = tmp_path / "folder.key", FolderKey(bytes(32)), FolderKey(b"\x07" * 32)
    in_the_way = tmp_path / f"folder.key.{former.fingerprint}.old"
    in_the_way.write_text("precious")
    assert save_key(path, former)
    kept = import_key(path, new, force=True)
    assert kept == tmp_path / f"folder.key.{former.fingerprint}.2.old"
    assert in_the_way.read_text() == "precious"
    assert load_key(kept) == former

    assert import_key(path, former, force=True) is not None
    assert import_key(path, new, force=True) == kept  # it holds this very key


def test_a_key_is_replaced_only_once_a_copy_of_the_former_is_on_disk(tmp_path: Path) -> None:
    path, former, new = tmp_path / "folder.key", FolderKey(bytes(32)), FolderKey(b"\x07" * 32)
    assert save_key(path, former)
    disk = Recorder()
    kept = import_key(path, new, force=True, disk=disk)
    assert kept is not None
    kept_at = disk.calls.index(("link", kept.name))
    assert disk.calls[kept_at:] == [
        ("link", kept.name),
        ("sync", tmp_path.name),
        ("sync", "a temporary file"),
        ("replace", "folder.key"),
        ("sync", tmp_path.name),
    ]


def test_a_key_that_was_in_the_way_is_kept_beside_unless_it_is_another_by_now(tmp_path: Path) -> None:
    path, made, right = tmp_path / "folder.key", FolderKey(bytes(32)), FolderKey(b"\x07" * 32)
    assert set_aside(path, made) is None
    assert save_key(path, made)
    assert set_aside(path, right) is None
    kept = set_aside(path, made)
    assert kept is not None
    assert load_key(kept) == made
    assert not path.exists()


def test_an_unwritable_place_is_a_usage_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageProblem, match="cannot"):
        load_or_create_key(tmp_path / "file" / "folder.key")


def test_the_default_place_is_in_the_configuration_folder() -> None:
    assert default_key_path().parts[-2:] == ("less-sync", "folder.key")
