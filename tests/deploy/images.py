"""Reads the container files, and lays out the tree that they would make, without an engine."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TIMEOUT_S: Final = 60.0
TREES: Final = ("/opt/", "/app", "/usr/local/bin/", "/var/lib/")
"""Where the images have files of ours."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    value: str

    def words(self) -> list[str]:
        """The value as a list, also where it is one in JSON."""
        return list(json.loads(self.value)) if self.value.startswith("[") else shlex.split(self.value)


def instructions(name: str) -> list[Instruction]:
    """Those of a Dockerfile, in order."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(name: str) -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first."""
    found: list[list[Instruction]] = []
    for one in instructions(name):
        if one.word == "FROM":
            found.append([])
        if found:
            found[-1].append(one)
    return found


def values(stage: list[Instruction], word: str) -> list[str]:
    """What stands behind each instruction of this kind."""
    return [one.value for one in stage if one.word == word]


def context() -> list[str]:
    """The tracked files that are sent to the engine."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in filter(None, listed.stdout.decode().split("\0")) if is_sent(name)]


def is_sent(path: str) -> bool:
    """What `.dockerignore` says of a path: the last line that matches it or a folder of it decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#"):
            kept, pattern = rule.startswith("!"), rule.removeprefix("!")
            parts = Path(path).parts
            if any(_matches(pattern, "/".join(parts[: count + 1])) for count in range(len(parts))):
                sent = kept
    return sent


def _matches(pattern: str, path: str) -> bool:
    """By the rules of Go's filepath.Match, and `**` for any number of folders."""
    words = {"**/": "(?:.*/)?", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*|\[[^]]*\])", pattern)
    return re.fullmatch("".join(_piece(words, piece) for piece in pieces), path) is not None


def _piece(words: dict[str, str], piece: str) -> str:
    return words.get(piece) or (piece if piece.startswith("[") else re.escape(piece))


def below(text: str, root: Path) -> str:
    """A command or script of an image with the images' folders moved below `root`."""
    places = "|".join(re.escape(tree) for tree in TREES)
    return re.sub(rf"(?<![\w/.-])(?={places})", str(root), text)


def lay_out(root: Path) -> None:
    """Make the final stage's tree: programs as pip makes them, and what the Dockerfile copies and links.

    The entrypoint of the development image is there as well.
    """
    final = stages("Dockerfile")[-1]
    for folder in ("opt/less-sync/bin", "usr/local/bin", "app"):
        (root / folder).mkdir(parents=True)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, place in scripts.items():
        module, function = place.split(":")
        program = root / "opt/less-sync/bin" / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        program.chmod(0o755)
    copied = [value.split() for value in values(final, "COPY") if not value.startswith("--from=")]
    copied.append(["deploy/dev-entrypoint.sh", "/usr/local/bin/less-sync-dev-entrypoint"])
    for source, target in copied:
        moved = Path(below(target, root))
        moved.write_text(below((ROOT / source).read_text(), root))
        moved.chmod((ROOT / source).stat().st_mode)
    (links,) = (command for command in values(final, "RUN") if "ln -s" in command)
    subprocess.run(["/bin/sh", "-c", below(links, root)], check=True, timeout=TIMEOUT_S)
