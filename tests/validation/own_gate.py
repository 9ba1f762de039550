"""`make validate`: this checkout judged by its own matrix, as an operator would judge an upgrade with it.

A server is started as a shell starts one, planted, used, backed up and stopped; then `less-sync validate`
decides by that backup, with the same release as the one now in service. Exit status: the command's own.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LESS_SYNC: Final = Path(sys.executable).parent / "less-sync"
REPORTS: Final = ROOT / "docs" / "reports" / "less-sync-selfhost"
OUT: Final = ROOT / "artefacts" / "validation"
START_S: Final = 60.0
STOP_S: Final = 20.0
KEPT: Final = ("PATH", "HOME", "LANG", "TMPDIR")
ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+")


def environment(**more: str) -> dict[str, str]:
    """Nothing of the caller's settings, and these."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | more


def less_sync(*words: str, **more: str) -> str:
    """Run a command that has to succeed; what it prints."""
    done = subprocess.run(
        [str(LESS_SYNC), *words], env=environment(**more), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


@contextmanager
def serving(data_dir: Path, log: Path) -> Iterator[str]:
    """A server in dev mode on a port of its own; yields its address, and stops it as Ctrl-C does."""
    words = [str(LESS_SYNC), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
    with log.open("wb") as output:
        server = subprocess.Popen(words, env=environment(), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _address(server, log)
    finally:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and server.poll() is None:
        found = ADDRESS.search(log.read_text(errors="replace"))
        if found is not None:
            return found[0]
        time.sleep(0.05)
    sys.stderr.write(log.read_text(errors="replace"))
    raise SystemExit("the server did not start")


def backed_up(folder: Path) -> Path:
    """What a server that was used for a moment leaves: a folder of backups."""
    data_dir, files, backups = folder / "data", folder / "files", folder / "backups"
    files.mkdir()
    for number in range(20):
        (files / f"note {number}.txt").write_text(f"a note, the {number}th\n" * (number + 1))
    with serving(data_dir, folder / "serve.log") as address:
        token = less_sync("token", "--user", "validation", "--data-dir", str(data_dir))
        production = {"PROD_BASE_URL": address, "PROD_ACCESS_TOKEN": token}
        print(less_sync("validate", "plant", "production", "--yes", **production), flush=True)
        user = less_sync("token", "--user", "alice", "--data-dir", str(data_dir))
        keys = ("--key-file", str(folder / "folder.key"))
        less_sync("push", str(files), *keys, "--server", address, LESS_SYNC_TOKEN=user)
        print(less_sync("backup", str(backups / "newest"), "--data-dir", str(data_dir)), flush=True)
    return backups


def released() -> int:
    """Whether the newest committed report of this checkout is a GO for HEAD; 0 if it is."""
    reports = sorted(REPORTS.glob("2*"))
    if not reports:
        sys.stderr.write("no report: make validate ARGS=--commit\n")
        return 1
    words = (
        "validate",
        "verify",
        str(reports[-1]),
        "--require-go",
        "--candidate",
        "HEAD",
        "--kind",
        "selfhost",
    )
    return subprocess.run([str(LESS_SYNC), *words], cwd=ROOT, env=environment(), check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status of `less-sync validate`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", action="store_true", help="keep the report in docs/reports and commit it")
    parser.add_argument("--release", action="store_true", help="only ask whether there is a GO for HEAD")
    options, rest = parser.parse_known_args(arguments)
    if options.release:
        return released()
    with tempfile.TemporaryDirectory(prefix="less-sync-own-gate-") as name:
        folder = Path(name)
        words = ["validate", "--backup", str(backed_up(folder)), "--previous", f"{LESS_SYNC} serve"]
        if options.commit:
            words.append("--commit")
        else:
            shutil.rmtree(OUT, ignore_errors=True)
            words += ["--out", str(OUT), "--sign-key", str(folder / "signing.key")]
        done = subprocess.run([str(LESS_SYNC), *words, *rest], cwd=ROOT, env=environment(), check=False)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
