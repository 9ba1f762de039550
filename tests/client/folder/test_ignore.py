"""`.less-syncignore` hides what git would hide, costs nothing for what is in there, and never fails open."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.ignore import (
    FILE_BYTES_MAX,
    FILE_PATTERNS_MAX,
    IGNORE_FILE,
    PATTERNS_MAX,
    Ignore,
)
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import scan_folder
from less_sync.client.folder.state import FolderState
from tests.client.folder.devices import Space, make_device
from tests.client.folder.test_passed_over import replica_of

TREE = (
    *("a", "b.o", "keep.o", "#a", "!a", "x y", "build/a", "build/b/c", "d/a", "d/b.o", "d/e/a", "d/e/keep.o"),
    *("d/build/x", "d/e/f/a", "d/.hidden", "logs/1.log", "logs/keep/2.log", "(a)", "a+", "a.b"),
)
# Patterns of the root's file, and what `git check-ignore --no-index` of git 2.39 says that they hide of TREE.
AS_GIT = [
    ("a", ["a", "build/a", "d/a", "d/e/a", "d/e/f/a"]),
    ("/a", ["a"]),
    ("a/", []),
    ("e/", ["d/e/a", "d/e/f/a", "d/e/keep.o"]),
    ("build", ["build/a", "build/b/c", "d/build/x"]),
    ("/build/", ["build/a", "build/b/c"]),
    ("build/**/", ["build/b/c"]),
    ("d/build", ["d/build/x"]),
    ("e/f", []),
    ("**/e/f", ["d/e/f/a"]),
    ("d/**/a", ["d/a", "d/e/a", "d/e/f/a"]),
    ("d/**", ["d/.hidden", "d/a", "d/b.o", "d/build/x", "d/e/a", "d/e/f/a", "d/e/keep.o"]),
    ("d/*\n!d/e/", ["d/.hidden", "d/a", "d/b.o", "d/build/x"]),
    ("d/**\n!d/e/", ["d/.hidden", "d/a", "d/b.o", "d/build/x", "d/e/a", "d/e/f/a", "d/e/keep.o"]),
    ("*.o\n!keep.o", ["b.o", "d/b.o"]),
    ("!keep.o\n*.o", ["b.o", "d/b.o", "d/e/keep.o", "keep.o"]),
    ("logs/\n!logs/keep/2.log", ["logs/1.log", "logs/keep/2.log"]),
    ("logs/*\n!logs/keep", ["logs/1.log"]),
    ("/*\n!/d\n/d/*\n!/d/a", sorted({*TREE} - {"d/a"})),
    ("*/\n!/d/", ["build/a", "build/b/c", "d/build/x", "d/e/a", "d/e/f/a", "d/e/keep.o", *TREE[15:17]]),
    ("#a", []),
    ("\\#a\n\\!a", ["!a", "#a"]),
    ("x y  ", ["x y"]),
    ("x\\ y", ["x y"]),
    ("(a)\na+", ["(a)", "a+"]),
    ("[a-b].*", ["a.b", "b.o", "d/b.o"]),
    ("[!a-b].*", ["logs/1.log", "logs/keep/2.log"]),
    ("d[!x]a\nd[x-y]a", []),
    ("?.?", ["a.b", "b.o", "d/b.o"]),
    ("a\r\n.hidden\r\n", ["a", "build/a", "d/.hidden", "d/a", "d/e/a", "d/e/f/a"]),
    ("\ufeffa.b\n\n/", ["a.b"]),
]


def ignore_of(directory: Path, text: str, folder: str = "") -> Ignore:
    ignore = Ignore()
    directory.mkdir(exist_ok=True)
    (directory / IGNORE_FILE).write_text(text, newline="")
    ignore.read(folder, directory / IGNORE_FILE)
    return ignore


@pytest.mark.parametrize(("text", "hidden"), AS_GIT)
def test_hidden_is_what_git_hides(tmp_path: Path, text: str, hidden: list[str]) -> None:
    for path in TREE:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    ignore = ignore_of(tmp_path, text)
    assert [path for path in sorted(TREE) if ignore.hides(path, is_folder=False)] == sorted(hidden)
    walked = scan_folder(tmp_path).files.keys() - {IGNORE_FILE}
    assert walked == {*TREE} - {*hidden}


def test_a_file_in_a_folder_applies_below_it_and_decides_before_those_above(tmp_path: Path) -> None:
    for path in ("a/x.log", "a/b/x.log", "a/b/keep", "c/x.log", "c/keep"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / IGNORE_FILE).write_text("*.log\n")
    (tmp_path / "a" / IGNORE_FILE).write_text("!/x.log\n/b/keep\n!b/\n")
    scan = scan_folder(tmp_path)
    assert scan.files.keys() == {IGNORE_FILE, f"a/{IGNORE_FILE}", "a/x.log", "c/keep"}
    assert scan.ignored == {"a/b/x.log", "a/b/keep", "c/x.log"}


def test_an_ignored_folder_is_not_entered_and_counts_as_one(tmp_path: Path) -> None:
    (tmp_path / "node_modules" / "below").mkdir(parents=True)
    (tmp_path / "node_modules" / "below" / IGNORE_FILE).write_bytes(
        b"\xff"
    )  # would be an error if it was read
    (tmp_path / "node_modules" / "bell\a").touch()
    (tmp_path / IGNORE_FILE).write_text("node_modules/\n")
    scan = scan_folder(tmp_path)
    assert (list(scan.files), scan.skipped, scan.ignored) == ([IGNORE_FILE], {}, {"node_modules"})
    assert scan.covers("node_modules/below/x")
    assert scan.covers("other/node_modules/x"), "it is not here, and would be ignored if it was"
    assert not scan.covers("node_modules")


def test_patterns_mean_names_in_whatever_unicode_form(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "\u00e9")
    (tmp_path / decomposed).touch()
    (tmp_path / IGNORE_FILE).write_text(f"{decomposed}\n")
    assert scan_folder(tmp_path).ignored == {"\u00e9"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\n\xff\n", "not UTF-8"),
        ("node_modules\n".encode("utf-16-le"), "not UTF-8"),
        (b"#" * (FILE_BYTES_MAX + 1), "larger than 262,144 bytes"),
        (b"a\n" * (FILE_PATTERNS_MAX + 1), "more than 1,000 patterns"),
        (b"a\nb\\\n", "line 2: not a pattern"),
        (b"[z-a]", "line 1: not a pattern"),
        (b"a[b", "line 1: a bracket is not closed"),
        (b"[[:alpha:]]", "line 1: character classes"),
        (b"[a\\]]", "line 1: character classes"),
        (b"*a*a*a*a", "line 1: more than 3"),
        (b"a/**/a/**/a/**", "line 1: more than 3"),
        (b"a" * 1025, "line 1: more than 1024 characters"),
    ],
)
def test_a_file_that_is_not_understood_is_an_error_that_names_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / IGNORE_FILE).write_bytes(content)
    with pytest.raises(UsageProblem, match=f"^sub/{IGNORE_FILE}.*{words}"):
        scan_folder(tmp_path)


def test_all_files_together_have_a_bound(tmp_path: Path) -> None:
    for number in range(PATTERNS_MAX // FILE_PATTERNS_MAX + 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / IGNORE_FILE).write_text("a\n" * FILE_PATTERNS_MAX)
    with pytest.raises(UsageProblem, match="more than 10,000 patterns in all"):
        scan_folder(tmp_path)


def test_a_link_or_a_pipe_in_its_place_is_an_error_and_a_folder_has_no_rules(tmp_path: Path) -> None:
    file = tmp_path / IGNORE_FILE
    file.symlink_to("elsewhere")
    with pytest.raises(UsageProblem, match=f"cannot read {IGNORE_FILE}"):
        scan_folder(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UsageProblem, match="no regular file"):
        scan_folder(tmp_path)
    file.unlink()
    file.mkdir()
    opened = len(os.listdir("/proc/self/fd"))
    assert scan_folder(tmp_path).files == {}
    assert len(os.listdir("/proc/self/fd")) == opened


@given(
    st.lists(st.text("ab*?[]!/\\# .", max_size=12), max_size=4),
    st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_nothing_below_a_hidden_folder_comes_back_whatever_the_patterns(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], names: list[str]
) -> None:
    try:
        ignore = ignore_of(tmp_path_factory.getbasetemp() / "given", "\n".join(lines))
    except UsageProblem:
        return
    paths = ["/".join(names[: count + 1]) for count in range(len(names))]
    verdicts = [ignore.hides(path, is_folder=True) for path in paths]
    assert verdicts == sorted(verdicts)


def test_ignored_files_are_neither_pushed_nor_deleted_there(tmp_path: Path) -> None:
    space = Space()
    one, two = make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)
    for path in ("kept.log", "gone.log", "logs/gone.log", "plain"):
        one.write(path, b"before")
    one.sync()
    two.sync()
    one.write(IGNORE_FILE, b"*.log\n")
    one.write("kept.log", b"edited")
    one.write("new.log", b"new")
    for path in ("gone.log", "logs/gone.log", "plain"):
        one.delete(path)
    (one.root / "logs").rmdir()
    one.sync()
    two.sync()
    before = {"kept.log": b"before", "gone.log": b"before", "logs/gone.log": b"before"}
    assert two.files() == {IGNORE_FILE: b"*.log\n", **before}
    assert one.files() == {IGNORE_FILE: b"*.log\n", "kept.log": b"edited", "new.log": b"new"}


def test_ignored_files_are_neither_pulled_nor_deleted_here_until_they_are_ignored_no_more(
    tmp_path: Path,
) -> None:
    space = Space()
    one, two = make_device(tmp_path, "a", space), make_device(tmp_path, "b", space)
    for path in ("edited.log", "gone.log", "both.log", "plain"):
        one.write(path, b"before")
    one.sync()
    two.sync()
    two.write(IGNORE_FILE, b"*.log\n")  # not pushed yet, so that only one side ignores
    for path in ("edited.log", "both.log", "new.log"):
        one.write(path, b"after")
    one.delete("gone.log")
    two.write("both.log", b"mine")
    one.sync()
    two.events.clear()
    two.sync(push=False)
    kept = {"edited.log": b"before", "gone.log": b"before", "both.log": b"mine"}
    assert two.files() == {IGNORE_FILE: b"*.log\n", "plain": b"before", **kept}
    assert two.events == []
    with FolderState.open(two.root) as state:
        assert (state.first_pending(), len(state.ignored())) == (None, 4), "and they are not asked for again"

    two.write(IGNORE_FILE, b"gone.log\n")
    two.sync(push=False)
    (conflict,) = two.told(Kind.CONFLICT)
    after = {"edited.log": b"after", "both.log": b"after", "new.log": b"after", "gone.log": b"before"}
    assert two.files() == {IGNORE_FILE: b"gone.log\n", "plain": b"before", **after, conflict[1]: b"mine"}
    two.delete(IGNORE_FILE)
    two.sync(push=False)
    assert "gone.log" not in two.files()


def test_an_ignore_file_that_is_away_for_a_moment_lets_nothing_out(tmp_path: Path) -> None:
    file, told = tmp_path / IGNORE_FILE, list[Event]()
    (tmp_path / "a.log").touch()
    (tmp_path / "b").touch()
    with replica_of(tmp_path, told) as replica:

        def found() -> set[str]:
            return replica.side.rescan().files.keys() - {IGNORE_FILE}

        file.write_text("*.log\n")
        assert found() == {"b"}
        file.unlink()  # an editor that writes anew what it saves
        assert (found(), replica.side.scan.ignored) == ({"b"}, {"a.log"})
        file.write_text("*.log\nb\n")
        assert found() == set()
        file.write_text("")
        assert (found(), found()) == (set(), {"a.log", "b"})


def test_a_broken_ignore_file_stops_before_anything_is_pushed(tmp_path: Path) -> None:
    told: list[Event] = []
    (tmp_path / IGNORE_FILE).write_bytes(b"\xff")
    (tmp_path / "secret").touch()
    with replica_of(tmp_path, told) as replica:
        with pytest.raises(UsageProblem, match=IGNORE_FILE):
            replica.side.rescan()
        assert list(replica.outbox.changes()) == []
    assert [event for event in told if event.kind is Kind.PUSHED] == []
