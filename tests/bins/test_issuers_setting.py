"""`ISSUERS_FILE` among the settings: what it ends, what it needs, what is said of it."""

import os
from pathlib import Path

import pytest

from less_sync.auth import ISSUERS_FILE_BYTES_MAX
from less_sync.bins.backup.place import read_place
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.shown import rows
from tests.bins.environments import NEEDED, problems

PLAIN = '[issuers.a]\nissuer = "https://a.example"\n'
DERIVED = '[issuers.d]\nissuer = "https://d.example"\nidentity = "derived"\naudiences = ["less-sync"]\n'
DATABASE = {"DATABASE_URL": "postgres://db/sync"}
KEY = {"IDENTITY_HASH_KEY": "ab" * 32}
UNCHECKED = "token audiences are not checked: AUDIENCES is not set"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "issuers.toml"


def read(path: Path, content: str, **env: str) -> Settings:
    path.write_text(content)
    return Settings.from_env(DATABASE | {"ISSUERS_FILE": f" {path} "} | env)


def told(path: Path, **env: str) -> list[str]:
    return problems(DATABASE | {"ISSUERS_FILE": str(path)} | env)


def test_the_file_alone_is_enough_and_needs_no_other_issuers(path: Path) -> None:
    settings = read(path, PLAIN + DERIVED, **KEY)
    assert settings.issuers.plain == {}
    assert [issuer.name for issuer in settings.issuers.ruled] == ["a", "d"]
    assert settings.issuers.file == path
    assert settings.token_policy.mailbox_key == bytes.fromhex("ab" * 32)


def test_both_kinds_stand_side_by_side_and_a_blank_list_is_none(path: Path) -> None:
    both = read(path, PLAIN, TRUSTED_ISSUERS="https://b.example")
    assert (list(both.issuers.plain), len(both.issuers.ruled)) == (["https://b.example"], 1)
    assert read(path, PLAIN, TRUSTED_ISSUERS=" ").issuers.plain == {}
    assert Settings.from_env(NEEDED | {"ISSUERS_FILE": " "}).issuers.file is None


def test_an_issuer_of_both_is_refused(path: Path) -> None:
    path.write_text(PLAIN)
    assert told(path, TRUSTED_ISSUERS="https://a.example/") == [
        f'ISSUERS_FILE "{path}": [issuers.a] issuer: is in TRUSTED_ISSUERS too, name it in one place'
    ]


def test_derived_identities_need_the_key_of_their_mailboxes(path: Path) -> None:
    path.write_text(DERIVED)
    assert told(path) == ["IDENTITY_HASH_KEY must be set: ISSUERS_FILE has derived identities"]
    assert told(path, IDENTITY_HASH_KEY="xy") == ["IDENTITY_HASH_KEY must be valid hex"]


def test_all_that_is_wrong_in_the_file_is_told_with_all_else(path: Path) -> None:
    path.write_text("[issuers.a]\nissuer = 1\nkey = 2\n")
    named = f'ISSUERS_FILE "{path}": '
    assert told(path, PUSH_LANES="x") == [
        f"{named}[issuers.a] key is not known, did you mean keys?",
        f"{named}[issuers.a] issuer: is no text",
        'invalid PUSH_LANES value "x": invalid digit found in string',
    ]


def test_a_file_that_cannot_be_read_is_told(path: Path, tmp_path: Path) -> None:
    assert told(path) == [f'ISSUERS_FILE "{path}": No such file or directory (os error 2)']
    assert told(tmp_path) == [f'ISSUERS_FILE "{tmp_path}": not a regular file']
    os.mkfifo(path)
    assert told(path) == [f'ISSUERS_FILE "{path}": not a regular file']
    path.unlink()
    path.write_bytes(bytes(ISSUERS_FILE_BYTES_MAX + 5))
    assert told(path) == [f'ISSUERS_FILE "{path}": larger than {ISSUERS_FILE_BYTES_MAX} bytes']
    assert told(Path("a\0b")) == ['ISSUERS_FILE "a\\0b": embedded null byte']


def test_the_file_ends_dev_mode_even_when_it_is_blank(path: Path) -> None:
    path.write_text(PLAIN)
    settings = Settings.from_env({"ISSUERS_FILE": str(path)}, embedded=True)
    assert not settings.dev
    assert str(settings.listen) == "0.0.0.0:5379"
    assert problems({"ISSUERS_FILE": ""}, embedded=True) == ["TRUSTED_ISSUERS must be set"]
    assert problems({"ISSUERS_FILE": str(path)}, embedded=True, dev=True) == [
        "dev mode has an issuer of its own: unset ISSUERS_FILE or leave out --dev"
    ]


def test_a_restore_takes_its_place_for_the_servers_of_production(path: Path) -> None:
    assert read_place({}).files.backend == "local"
    assert read_place({"ISSUERS_FILE": str(path)}).files.backend == "none"


def test_audiences_are_missed_where_nobody_names_them(path: Path) -> None:
    assert UNCHECKED in read(path, PLAIN, **KEY).warnings()
    assert UNCHECKED not in read(path, DERIVED, **KEY).warnings()
    assert UNCHECKED in read(path, DERIVED, TRUSTED_ISSUERS="https://b", **KEY).warnings()
    assert UNCHECKED not in read(path, PLAIN, AUDIENCES="x", **KEY).warnings()


def test_believed_claims_beside_derived_identities_are_warned_of(path: Path) -> None:
    warning = (
        "issuers whose claims are believed can name the spaces of derived identities: "
        "set PERSONAL_SPACE_CHECK=derive"
    )
    assert warning in read(path, PLAIN + DERIVED, **KEY).warnings()
    assert warning in read(path, DERIVED, TRUSTED_ISSUERS="https://b", **KEY).warnings()
    assert warning not in read(path, PLAIN + DERIVED, PERSONAL_SPACE_CHECK="derive", **KEY).warnings()
    assert warning not in read(path, DERIVED, **KEY).warnings()
    assert warning not in read(path, PLAIN, **KEY).warnings()


def test_config_shows_the_file(path: Path) -> None:
    shown = {row.name: (row.value, row.source) for row in rows(read(path, PLAIN))}
    assert shown["ISSUERS_FILE"] == (str(path), "environment")
    assert shown["TRUSTED_ISSUERS"] == (None, "default")
