"""The type declarations that are published beside the modules."""

import subprocess
from pathlib import Path

from tests.node import CLIENT, NODE, environment

TSC = CLIENT / "node_modules" / "typescript" / "bin" / "tsc"


def declarations(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.d.ts")}


def tsc(*arguments: str, cwd: Path = CLIENT) -> None:
    command = [str(NODE), str(TSC), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_declarations_are_those_of_the_modules_as_they_are_now(tmp_path: Path) -> None:
    tsc("-p", ".", "--outDir", str(tmp_path))
    assert declarations(CLIENT / "types") == declarations(tmp_path), "make types writes them anew"
