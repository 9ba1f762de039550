"""The key file: made once, never overwritten, told from damaged and from foreign ones."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.keyfile import (
    FolderKey,
    default_key_path,
    import_key,
    load_key,
    load_or_create_key,
    parse_key,
    save_key,
)


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


def test_an_unwritable_place_is_a_usage_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageProblem, match="cannot"):
        load_or_create_key(tmp_path / "file" / "folder.key")


def test_the_default_place_is_in_the_configuration_folder() -> None:
    assert default_key_path().parts[-2:] == ("less-sync", "folder.key")
