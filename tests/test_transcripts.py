"""The transcripts of the pages are what is printed now, and whoever changes a word of either is told."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.terminals import ROOT
from tests.transcripts import (
    PAGES,
    Different,
    Ids,
    Unplayable,
    compare,
    main,
    parse,
    play,
    steps,
    stories,
)

ONE: Final = "0b6b5e0e-52a5-4d0b-a0a3-3a29f8a4a2b1"
TWO: Final = "6f0c3b0e-52a5-4d0b-a0a3-3a29f8a4a2b1"
NEW_ID: Final = ".venv/bin/python -c 'import uuid; print(uuid.uuid4())'"
BOB: Final = "did:key:zDnaegTVfeLJQm8CqLZfzfxMP9Sqk2fia3kQhQ8QFhvtitiRw"


def page(*blocks: tuple[str, str]) -> str:
    """A page of (direction, lines)."""
    return "\n".join(f"<!-- transcript: {who} -->\n```console\n{lines}\n```\n" for who, lines in blocks)


@pytest.mark.parametrize("path", stories(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_shows_what_is_printed(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert play(text, tmp_path) == text


def test_few_transcripts_cannot_be_played_and_each_says_why() -> None:
    skipped = [
        (str(path.relative_to(ROOT)), block.lines[0].split(" ")[1:3])
        for path in PAGES
        for block in parse(path.read_text())
        if block.skipped
    ]
    assert skipped == [
        ("README.md", ["make", "test"]),
        ("README.md", ["DATABASE_URL=postgres://less_sync@db.internal/less_sync", "\\"]),
        ("docs/folder-format.md", ["head", "-c"]),
        ("docs/operations.md", ["cp", ".env.example"]),
        ("docs/operations.md", ["sudo", "python3"]),
        ("docs/operations.md", ["alias", "as-less-sync='sudo"]),
        ("docs/operations.md", ["python", "-m"]),
        ("docs/python.md", ["pip", "install"]),
        ("docs/scaling.md", ["cp", "deploy/cluster/.env.example"]),
        ("docs/validation.md", ["less-sync", "validate"]),
        ("docs/validation.md", ["/opt/less-sync-0.0.9/bin/less-sync", "backup"]),
    ]


def test_any_changed_word_of_any_output_is_noticed() -> None:
    changed = 0
    for path in stories():
        for block in parse(path.read_text()):
            for step in steps(block.lines):
                for number, line in enumerate(step.shown):
                    for word in re.finditer(r"[^\W\d_]+", line):
                        # With a blank: what has the form of an id may be another one.
                        other = f"{line[: word.start()]}else wise{line[word.end() :]}"
                        shown = [*step.shown[:number], other, *step.shown[number + 1 :]]
                        assert compare(shown, step.shown, Ids()) != shown
                        changed += 1
    assert changed > 500


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ("buy salt\nand bread", ["-buy salt", "+buy milk", " and bread"]),
        ("buy milk\nand milk", [" buy milk", "-and milk", "+and bread"]),
        ("buy milk", [" buy milk", "+and bread"]),
        ("buy milk\nand bread\nand tea", [" buy milk", " and bread", "-and tea"]),
    ],
)
def test_what_differs_is_shown_beside_what_is_printed(shown: str, found: list[str], tmp_path: Path) -> None:
    with pytest.raises(Different) as caught:
        play(page(("alice", f"$ echo buy milk; echo and bread\n{shown}")), tmp_path)
    place, *lines = str(caught.value).split("\n")
    assert place == "line 3, alice: echo buy milk; echo and bread"
    assert lines[:2] == ["--- the page", "+++ what is printed"]
    assert lines[3:] == found


def test_a_terminal_keeps_its_directory_and_variables_and_has_an_empty_input(tmp_path: Path) -> None:
    text = page(
        ("alice, bob", '$ export WHO=$(basename "$PWD") &&\\\n  mkdir -p inner && cd inner'),
        ("alice", "$ cat; pwd\n/home/alice/less-sync/inner"),
        ("bob", "$ echo $WHO, $NOTHING.\nless-sync, ."),
    )
    assert play(text, tmp_path) == text


LOOP: Final = "while sleep 0.02; do [ -f no ] && echo refused && break; done; echo over"
WATCH: Final = f"""$ sh -c 'trap "echo; echo stopped; exit 7" INT; echo watching; {LOOP}'; echo $?"""


def test_a_command_in_the_background_goes_on_while_others_are_typed(tmp_path: Path) -> None:
    text = page(
        ("alice-watch background", f"{WATCH}\nwatching"),
        ("alice", "$ touch no"),
        ("alice-watch", "refused\nover\n0\n$ echo again\nagain"),
    )
    assert play(text, tmp_path) == text


def test_ctrl_c_ends_a_command_and_not_its_terminal(tmp_path: Path) -> None:
    text = page(
        ("alice", f"$ KEPT=kept\n{WATCH}\nwatching\n^C\n\nstopped\n7\n$ echo $KEPT\nkept"),
        ("bob background", f"{WATCH}\nwatching"),
        ("bob", "^C\n\nstopped\n7"),
    )
    assert play(text, tmp_path) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            page(("alice background", "$ echo over\nover")),
            "line 3, alice: echo over\nended: is it in the background?",
        ),
        (page(("a background", "$ sleep 60"), ("a", "$ echo")), "line 8, a: echo\nits last command goes on"),
    ],
)
@pytest.mark.parametrize("writing", [False, True])
def test_a_wrong_direction_is_told_and_never_written(
    text: str, message: str, writing: bool, tmp_path: Path
) -> None:
    with pytest.raises(Different) as caught:
        play(text, tmp_path, writing=writing)
    assert str(caught.value) == message


def test_an_id_of_the_page_stands_for_one_of_the_run_in_commands_too(tmp_path: Path) -> None:
    text = page(
        ("alice", f"$ {NEW_ID} | tee id\n{ONE}"),
        ("alice", f"$ grep -c {ONE} id\n1"),
        ("alice", f"$ cat id\n{ONE}"),
    )
    assert play(text, tmp_path) == text
    (tmp_path / "again").mkdir()
    with pytest.raises(Different):
        play(text.replace(f"$ cat id\n{ONE}", f"$ cat id\n{TWO}"), tmp_path / "again")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["one 2026-11-21 08:01 UTC"], ["one 2027-01-01 10:59 UTC"], True),
        (["one 2026-11-21 08:01 UTC"], ["one 2027-01-01"], False),
        (["no (conflict 2026-11-21 132337).txt"] * 2, ["no (conflict 2027-01-01 000000).txt"] * 2, True),
        (
            ["no (conflict 2026-11-21 132337).txt"] * 2,
            ["no (conflict 2027-01-01 000000).txt", "no (conflict 2027-01-01 000001).txt"],
            False,
        ),
        (["postgres.17-20261126T163000Z"] * 2, ["postgres.17-20270101T000000Z"] * 2, True),
        (["a 20261126T163000Z"] * 2, ["a 20270101T000000Z", "a 20270101T000001Z"], False),
        ([ONE, TWO, ONE], [TWO, ONE, TWO], True),
        ([ONE, TWO, ONE], [TWO, ONE, ONE], False),
        ([ONE, TWO], [ONE, ONE], False),
        ([f"{BOB} write"], [f"{BOB[:-1]}z write"], True),
        ([f"{BOB} write"], [f"{BOB} admin"], False),
        ([BOB], [ONE], False),
        (
            [f"CID {'0a' * 32}", "in shared.259215f1.json"],
            [f"CID {'0b' * 32}", "in shared.00000000.json"],
            True,
        ),
        (
            [f"https://127.0.0.1/.well-known/jwks.json#fed-1795702746-5={'A' * 43}"] * 2,
            [f"https://127.0.0.1/.well-known/jwks.json#fed-1795700000-12345678={'-' * 43}"] * 2,
            True,
        ),
        ([f"#fed-1-5={'A' * 43}"] * 2, [f"#fed-1-5={'-' * 43}", f"#fed-1-5={'_' * 43}"], False),
        ([f"#fed-1-5={'A' * 43}"], [f"#fed-1-5={'A' * 42}"], False),
        (["12 bytes"], ["13 bytes"], False),
        (["pulled: a", "pulled: b", "2 pulled"], ["pulled: b", "pulled: a", "2 pulled"], True),
        (["pulled: a", "pulled: b"], ["pulled: b", "pulled: c"], False),
        (["pushed: a", "pushed: b"], ["pushed: b", "pushed: a"], False),
        (["pulled: a", "over", "pulled: b"], ["pulled: b", "over", "pulled: a"], False),
    ],
)
def test_output_is_the_same_but_for_ids_times_and_the_order_of_pulls(
    shown: list[str], printed: list[str], same: bool
) -> None:
    assert (compare(shown, printed, Ids()) == shown) is same


def test_writing_keeps_what_says_the_same_and_changes_the_rest(tmp_path: Path) -> None:
    text = page(
        ("alice, bob", "$ echo more\nless\nleast"),
        (
            "alice",
            f"$ {NEW_ID} > id; echo new id $(cat id)\nid {ONE}\n$ cat id\n{ONE}",
        ),
        ("bob background", f"{WATCH}"),
        ("bob", "^C\nnothing"),
    )
    new = page(
        ("alice, bob", "$ echo more\nmore"),
        (
            "alice",
            f"$ {NEW_ID} > id; echo new id $(cat id)\nnew id {ONE}\n$ cat id\n{ONE}",
        ),
        ("bob background", f"{WATCH}\nwatching"),
        ("bob", "^C\n\nstopped\n7"),
    )
    assert play(text, tmp_path, writing=True) == new


def test_the_command_compares_or_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text(page(("alice", "$ echo more\nless")))
    assert main([str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: line 3, alice: echo more",
        *("--- the page", "+++ what is printed", "@@ -1 +1 @@", "-less", "+more"),
    ]
    assert main([str(path), "--write"]) == 0
    assert main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{path}: written", f"{path}: as it is"]
    assert path.read_text() == page(("alice", "$ echo more\nmore"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Alice:\n```console\n$ ls\n```\n", "line 2: say who types this, or why it cannot be played"),
        ("<!-- transcript: alice -->\n\n```console\n$ ls\n```\n", "line 1: no transcript follows"),
        (page(("skip", "$ ls")), "line 1: 'skip' is no direction"),
        (page(("skip, ", "$ ls")), "line 1: 'skip, ' is no direction"),
        (page(("alice on the phone", "$ ls")), "line 1: 'alice on the phone' is no direction"),
        ("```sh\n$ ls\n```\n", "line 1: mark a block with commands as `console`"),
        ("- a list\n  ```console\n  $ ls\n  ```\n", "line 2: mark a block with commands as `console`"),
    ],
)
def test_a_transcript_without_a_good_direction_is_an_error(text: str, message: str) -> None:
    with pytest.raises(Unplayable) as caught:
        parse(text)
    assert str(caught.value).startswith(message)
