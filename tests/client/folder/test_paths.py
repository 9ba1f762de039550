"""Names out of records never lead out of the folder, and conflict copies have legal names."""

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.paths import conflict_path, is_state_dir, path_problem, shown

AT = datetime(2026, 11, 21, 9, 5, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/..",
        "./a",
        "a//b",
        "a/",
        ".less-sync",
        ".less-sync/state.db",
        ".less-sync/../x",
        "a/.less-sync/x",
        ".LESS-Sync/x",
        ".less-sync\u200c/x",
        ".less-sync./x",
        "\uff0eless-sync/x",
        "a\x00b",
        "a\nb",
        "\x7f",
        "a\ud800",
        "e\u0301.txt",
        "x" * 256,
        "\u00e9" * 128,
        "/".join(["x" * 200] * 16),
    ],
)
def test_a_hostile_or_foreign_path_is_refused(path: str) -> None:
    assert path_problem(path) is not None


@pytest.mark.parametrize(
    "path",
    ["a", "a/b/c.txt", ".hidden", "...", "..a", "a b", "\u00e9t\u00e9.txt", "x" * 255, "less-sync", "C:\\x"],
)
def test_an_ordinary_path_is_accepted(path: str) -> None:
    assert path_problem(path) is None


@given(st.text())
def test_an_accepted_path_stays_inside_whatever_it_is(path: str) -> None:
    if path_problem(path) is None:
        names = path.split("/")
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(names)
        assert not any(map(is_state_dir, names))
        assert unicodedata.is_normalized("NFC", path)


def test_a_conflict_copy_keeps_folder_stem_and_extension() -> None:
    assert conflict_path("a/b.tar.gz", AT) == "a/b.tar (conflict 2026-11-21 090507).gz"
    assert conflict_path("Makefile", AT) == "Makefile (conflict 2026-11-21 090507)"
    assert conflict_path(".bashrc", AT, 2) == ".bashrc (conflict 2026-11-21 090507 2)"


@given(st.text(min_size=1), st.integers(1, 99))
def test_a_conflict_copy_of_a_legal_path_is_a_legal_path(path: str, attempt: int) -> None:
    path = unicodedata.normalize("NFC", path)
    if path_problem(path) is None:
        assert path_problem(conflict_path(path, AT, attempt)) is None


def test_a_name_of_the_longest_length_is_cut_for_its_conflict_copy() -> None:
    copy = conflict_path("\u00e9" * 125 + ".text", AT)
    assert copy.endswith(" (conflict 2026-11-21 090507).text")
    assert path_problem(copy) is None


def test_shown_names_cannot_drive_a_terminal() -> None:
    assert shown("a\x1b[31m\u202eb \u00e9") == "a\\x1b[31m\\u202eb \u00e9"
