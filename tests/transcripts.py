"""Plays the transcripts of the pages anew, and compares what is printed with what the pages show.

    python -m tests.transcripts [PAGE ...]            compare; exit status 1 where something differs
    python -m tests.transcripts --write [PAGE ...]    put what is printed into the pages

A page tells one story from top to bottom, with real processes in a folder of its own. A reader sees blocks
marked as `console` and knows from the text who types them; for this script a comment says so on the line
before each:

    <!-- transcript: alice -->                    in the terminal of this name; any name makes a terminal
    <!-- transcript: alice, bob -->               the same in one terminal after the other
    <!-- transcript: alice-watch background -->   the last command goes on when the block is over
    <!-- transcript: skip, REASON -->             not played, and why it cannot be

All terminals begin in /home/alice/less-sync, a checkout of this repository where `make serve` ran before,
with nothing set. In a block `$ ` begins a command (one that ends with a backslash goes on in the next line),
and a line `^C` is Ctrl-C, pressed when the lines before it have come. All else is output. A block that begins
with output shows what the command in the background of that terminal has printed since.

Output is the same when it differs only in what differs each time:

- ids (UUIDs, DIDs, CIDs and first digits of them, ids of files in volumes, keys of servers and their names,
  secrets of start pages, times in names of files and folders, ports that a system hands out): one of the page
  stands for one of the run, in the whole page and in commands too;
- times, milliseconds, free space, numbers of processes, open connections and migrations, the size of a
  database and where its socket is, which may be any;
- the order of `pulled` lines that follow each other, which is that of record ids;
- the home folder and the ports, which are shown as /home/alice and as `tests/terminals.py` lists them.

Sizes are compared. The server's log is off.
"""

import argparse
import difflib
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from tests.terminals import ROOT, Stage, Terminal, stage

PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
_ENDS_WITHIN_S: Final = 0.5
_PROMPT: Final = "$ "
_CTRL_C: Final = "^C"
_PULLED: Final = "pulled: "
_DIRECTION: Final = re.compile(r"<!-- transcript: (.*) -->")
_TERMINALS: Final = re.compile(r"([a-z][a-z-]*(?:, [a-z][a-z-]*)*)( background)?")
_VARIABLE: Final = re.compile(
    r"""
      (?P<uuid>    \b [0-9a-f]{8} (?: -[0-9a-f]{4} ){3} -[0-9a-f]{12} \b )
    | (?P<did>     \b did:key:z [1-9A-HJ-NP-Za-km-z]+ )
    | (?P<cid>     \b [0-9a-f]{64} \b )
    | (?P<digits>  \b [0-9a-f]{8} \b )
    | (?P<key_id>  (?<= \# ) fed-\d+-\d+ (?= = ) )
    | (?P<key>     (?<= = ) [0-9A-Za-z_-]{43} (?= $ ) )
    | (?P<secret>  (?<= /\# ) [0-9A-Za-z_-]{43} (?= $ ) )
    | (?P<kid>     (?<= kid[ ]" ) [0-9A-Za-z_-]{43} (?= " ) )
    | (?P<copy>    (?<= \(conflict[ ] ) \d{4}-\d\d-\d\d[ ]\d{6} (?= \) ) )
    | (?P<port>    (?<= ://127\.0\.0\.1: ) [3-6]\d{4} \b )
    | (?P<measure> \b [0-9][0-9.]* (?= [ ]ms\b | [ ]open[ ]now\b ) | \b [0-9.]+ [ ] [KMGTP]iB (?= [ ]free\b )
                  | (?: (?<= room[ ]for[ ] ) | (?<= pid[ ] ) | (?<= process[ ] ) ) [0-9,]+
                  | (?<= all[ ] ) \d+ (?= [ ]migrations ) | [0-9.]+ [ ] [KMGTP]iB (?= [ ]of[ ]it[ ]indexes )
                  | (?<= database[ ]{5} ) [0-9.]+ [ ] [KMGTP]iB
                  | (?<= "postgres"[ ]at[ ] )
                    (?: /home/alice/less-sync/looked-after/socket | /\S+/less-sync-[0-9a-f]{16} )
                    (?= :5432, ) )
    | (?P<fid>     \b \d+ , [0-9a-f]{9,24} \b )
    | (?P<stamp>   \b \d{8}T\d{6}Z \b )
    | (?P<time>    \b \d{4}-\d\d-\d\d [ T] \d\d:\d\d (?: :\d\d )? )
    """,
    re.VERBOSE,
)
_ANY: Final = frozenset({"time", "measure"})
"""Kinds of which one of the page does not stand for one of the run."""


class Unplayable(Exception):
    """A page that does not say how it is played, with the line where."""


class Different(Exception):
    """What is printed is not what the page shows; the text is a comparison."""


@dataclass(frozen=True, slots=True)
class Block:
    """A transcript of a page: its direction, and its lines, the first of which is `line` of the page."""

    line: int
    terminals: tuple[str, ...]
    background: bool
    skipped: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Step:
    """What is typed, as the page shows it, and what it shows then. Without an input: what came since."""

    typed: list[str]
    shown: list[str] = field(default_factory=list)

    @property
    def command(self) -> str:
        return "\n".join(self.typed).removeprefix(_PROMPT)


def parse(text: str) -> list[Block]:
    """The transcripts of a page, in order.

    Raises:
        Unplayable: a transcript without a direction, a direction without a transcript, or an unknown one.
    """
    found: list[Block] = []
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.lstrip().startswith("```"):
            end = next(later for later in range(number + 1, len(lines)) if lines[later].strip() == "```")
            body, direction = lines[number + 1 : end], lines[number - 1] if number else ""
            if line == "```console":
                found.append(_block(number + 2, direction, body))
            elif any(one.lstrip().startswith(_PROMPT) for one in body):
                raise Unplayable(f"line {number + 1}: mark a block with commands as `console`, at the margin")
            number = end
        elif line.startswith("<!-- transcript") and lines[number + 1 : number + 2] != ["```console"]:
            raise Unplayable(f"line {number + 1}: no transcript follows this direction")
        number += 1
    return found


def _block(line: int, direction: str, lines: list[str]) -> Block:
    match = _DIRECTION.fullmatch(direction)
    if match is None:
        raise Unplayable(
            f"line {line - 1}: say who types this, or why it cannot be played (tests/transcripts.py)"
        )
    if match[1].startswith("skip, ") and match[1] != "skip, ":
        return Block(line, (), False, match[1].removeprefix("skip, "), lines)
    who = _TERMINALS.fullmatch(match[1])
    if who is None or who[1] == "skip":
        raise Unplayable(f"line {line - 2}: {match[1]!r} is no direction (tests/transcripts.py)")
    return Block(line, tuple(who[1].split(", ")), who[2] is not None, "", lines)


def steps(lines: Sequence[str]) -> list[Step]:
    """The steps of a transcript."""
    found: list[Step] = []
    for line in lines:
        if found and found[-1].typed and not found[-1].shown and found[-1].typed[-1].endswith("\\"):
            found[-1].typed.append(line)
        elif line.startswith(_PROMPT) or line == _CTRL_C:
            found.append(Step([line]))
        else:
            if not found:
                found.append(Step([]))
            found[-1].shown.append(line)
    return found


def shape(line: str) -> tuple[str, ...]:
    """A line with only the kinds of what differs each time."""
    return tuple(_parts(line)[0])


def _parts(line: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The fixed parts of a line with kinds between them, and each variable part with its kind."""
    fixed, variable, at = [], [], 0
    for match in _VARIABLE.finditer(line):
        kind = str(match.lastgroup)
        fixed += [line[at : match.start()], kind]
        variable.append((kind, match[0]))
        at = match.end()
    return [*fixed, line[at:]], variable


@dataclass(slots=True)
class Ids:
    """Which id of the page stands for which of the run."""

    of_run: dict[str, str] = field(default_factory=dict)
    of_page: dict[str, str] = field(default_factory=dict)

    def typed(self, text: str) -> str:
        """A text of the page with the ids of the run."""
        return _VARIABLE.sub(lambda match: self.of_run.get(match[0], match[0]), text)

    def shown(self, text: str) -> str:
        """A text of the run with the ids of the page, and its own where the page has none."""
        return _VARIABLE.sub(lambda match: self.of_page.get(match[0], match[0]), text)

    def same(self, of_page: str, of_run: str) -> bool:
        """Whether two lines say the same. Ids that are new on both sides stand for each other from now on."""
        (fixed, ours), (fixed_of_run, theirs) = _parts(of_page), _parts(of_run)
        if [kind for kind, _ in ours] != [kind for kind, _ in theirs]:
            return False
        pairs = [
            (one, other) for (kind, one), (_, other) in zip(ours, theirs, strict=True) if kind not in _ANY
        ]
        bound = [
            self.of_run.setdefault(one, other) == other and self.of_page.setdefault(other, one) == one
            for one, other in pairs
        ]
        return fixed == fixed_of_run and all(bound)


def in_order(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """The printed lines, neighbours that tell of pulled files as the page has them."""
    places = {shape(line): place for place, line in enumerate(shown)}
    result: list[str] = []
    for pulled, lines in groupby(printed, lambda line: line.startswith(_PULLED)):
        together = [*lines]
        if pulled:
            together.sort(key=lambda line: places.get(shape(line), len(shown)))
        result += together
    return result


def compare(shown: Sequence[str], printed: Sequence[str], ids: Ids) -> list[str]:
    """What the page should show for what was printed: its own lines where they say the same."""
    result: list[str] = []
    printed = in_order(shown, printed)
    matcher = difflib.SequenceMatcher(None, [*map(shape, shown)], [*map(shape, printed)], autojunk=False)
    for _, page_start, page_end, run_start, run_end in matcher.get_opcodes():
        ours, theirs = shown[page_start:page_end], printed[run_start:run_end]
        for number, line in enumerate(theirs):
            same = number < len(ours) and ids.same(ours[number], line)
            result.append(ours[number] if same else ids.shown(line))
    return result


@dataclass(frozen=True, slots=True)
class Play:
    """One playing of a page. Writing, it goes on where something differs."""

    stage: Stage
    writing: bool
    ids: Ids = field(default_factory=Ids)

    def block(self, block: Block) -> list[str]:
        """Play a transcript; what the page should show for it.

        Raises:
            Different: it shows something else, and we are not writing.
        """
        result: list[str] = []
        for name in block.terminals:
            terminal, todo, result = self.stage.terminal(name), steps(block.lines), []
            for number, step in enumerate(todo):
                later = todo[number + 1 :]
                goes_on = later[0].typed == [_CTRL_C] if later else block.background
                place = f"line {block.line}, {name}: {step.command}"
                if step.command and step.typed != [_CTRL_C] and not terminal.ended:
                    raise Different(f"{place}\nits last command goes on")
                new = self._step(terminal, step, goes_on=goes_on)
                if new != step.shown and not self.writing:
                    raise Different("\n".join([place, *_difference(step.shown, new)]))
                if terminal.ended is goes_on:
                    raise Different(f"{place}\n{'ended' if goes_on else 'goes on'}: is it in the background?")
                result += [*step.typed, *new]
        return result

    def _step(self, terminal: Terminal, step: Step, *, goes_on: bool) -> list[str]:
        if step.typed == [_CTRL_C]:
            terminal.press_ctrl_c()
        elif step.typed:
            terminal.type(self.stage.typed(self.ids.typed(step.command)))
        if not goes_on:
            terminal.wait_for_end()
        else:
            terminal.wait_for_lines(len(step.shown))
            if self.writing:
                terminal.wait_for_quiet()
            # Its end comes a moment after its last line.
            terminal.wait_for_end(_ENDS_WITHIN_S)
        taken = terminal.take(len(step.shown) if goes_on and not self.writing else None)
        return compare(step.shown, [self.stage.shown(line) for line in taken], self.ids)


def _difference(shown: Sequence[str], new: Sequence[str]) -> list[str]:
    return list(difflib.unified_diff(shown, new, "the page", "what is printed", lineterm="", n=99))


def play(text: str, directory: Path, *, writing: bool = False) -> str:
    """Play a page in an empty directory; the page as it should be.

    Raises:
        Unplayable: see `parse`.
        Different: it is not so, and we are not writing.
    """
    blocks = parse(text)
    lines = text.splitlines()
    shift = 0
    with stage(directory) as where:
        played = Play(where, writing)
        for block in blocks:
            if not block.skipped:
                new = played.block(block)
                start = block.line - 1 + shift
                lines[start : start + len(block.lines)] = new
                shift += len(new) - len(block.lines)
    return "\n".join(lines) + "\n"


def stories() -> list[Path]:
    """The pages with something to play."""
    return [path for path in PAGES if any(not block.skipped for block in parse(path.read_text()))]


def main(words: Sequence[str] | None = None) -> int:
    """Play the pages named, or all; how many differ, at most 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.transcripts", description="Play the pages' transcripts."
    )
    parser.add_argument(
        "pages", metavar="PAGE", nargs="*", type=Path, help="such as docs/sharing.md; default all"
    )
    parser.add_argument("--write", action="store_true", help="put what is printed into the pages")
    chosen = parser.parse_args(words)
    status = 0
    for path in [one.resolve() for one in chosen.pages] or stories():
        text, name = path.read_text(), path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        try:
            with tempfile.TemporaryDirectory(prefix="less-sync-transcripts-") as directory:
                new = play(text, Path(directory), writing=chosen.write)
        except (Unplayable, Different) as error:
            print(f"{name}: {error}")
            status = 1
        else:
            if new != text:
                path.write_text(new)
            print(f"{name}: {'as it is' if new == text else 'written'}")
    return status


if __name__ == "__main__":
    sys.exit(main())
