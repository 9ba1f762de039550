"""The type of a file by the extension of its name."""

from pathlib import Path

import pytest

from less_sync.volume.http.mime import Types, extension


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ".txt"),
        ("a.tar.gz", ".gz"),
        (".env", ".env"),
        ("a", ""),
        ("a.b/c", ""),
        ("a.", "."),
        ("", ""),
    ],
)
def test_an_extension_begins_at_the_last_dot_of_the_last_segment(name: str, expected: str) -> None:
    assert extension(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.js", "application/javascript"),
        ("a.ico", "image/x-icon"),
        ("a.ts", "text/typescript; charset=utf-8"),
        ("a.webm", "video/webm"),
        ("a.C++", "text/x-c++; charset=utf-8"),
        ("a.TXT", "text/plain; charset=utf-8"),
        ("a.exe", "application/octet-stream"),
        ("a.xsl", "text/xml; charset=utf-8"),
        ("a.pjpeg", "image/jpeg"),
        ("a.opus", "audio/ogg"),
        ("a.unheard", ""),
        ("a", ""),
    ],
)
def test_both_own_tables_are_known_without_any_file_of_the_system(name: str, expected: str) -> None:
    assert Types((), ()).of_name(name) == expected


def test_the_shared_database_adds_what_neither_table_has_and_its_first_entry_counts(tmp_path: Path) -> None:
    globs = tmp_path / "globs2"
    globs.write_text(
        "# comment:a/b:*.no\n"
        "50:text/x-one:*.one\n"
        "40:text/x-two:*.one\n"
        "50:image/other:*.png\n"
        "50:audio/other:*.opus\n"
        "50:text/x-glob:*.[ch]x\n"
        "50:text/x-name:makefile\n"
        "50:no type:*.bad\n"
        "50:text/x-iMixed:*.mixed:cs\n"
        "50:x/Y:*.Z\n"
        "50:a/b\n"
    )
    types = Types((tmp_path / "absent", globs), (tmp_path / "unused",))
    (tmp_path / "unused").write_text("x/unused unused\n")
    assert types.of_name("a.one") == "text/x-one; charset=utf-8"
    assert types.of_name("a.mixed") == "text/x-imixed; charset=utf-8"
    assert types.of_name("a.Z") == types.of_name("a.z") == "x/Y"
    assert types.of_name("a.png") == "image/png"
    assert types.of_name("a.opus") == "audio/ogg"
    assert [types.of_name(f"a.{ending}") for ending in ("no", "cx", "makefile", "bad", "unused")] == [""] * 5


def test_without_the_database_files_of_types_override_the_last_table_and_a_later_file_the_former(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("# x/y no\nx/first one opus # cut\nx/alone\n\n")
    second.write_text("x/second one png\n")
    types = Types((tmp_path / "absent",), (first, tmp_path / "absent", second))
    assert types.of_name("a.one") == "x/second"
    assert types.of_name("a.opus") == "x/first"
    assert types.of_name("a.png") == "image/png"
    assert types.of_name("a.cut") == types.of_name("a.no") == ""


def test_a_file_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "globs2").write_bytes(bytes(range(256)) * 20)
    assert Types((tmp_path / "globs2",), ()).of_name("a.txt") == "text/plain; charset=utf-8"
    assert Types((tmp_path,), ()).of_name("a.txt") == "text/plain; charset=utf-8"
