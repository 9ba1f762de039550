"""What can be held of the images without an engine: the files they are made by, and the tree these make."""

import os
import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.bins.packages import build, copy_tracked
from tests.bins.test_packages import contents
from tests.deploy.images import ROOT, TIMEOUT_S, context, instructions, is_sent, lay_out, stages, values

FINAL: Final = stages("Dockerfile")[-1]
NAMES: Final = ("server", "migrate", "federation-keygen")
PROGRAMS: Final = {
    "/usr/local/bin/less-sync": "less-sync",
    **{f"/app/{name}": name for name in NAMES},
    **{f"/usr/local/bin/{brand}-sync-{name}": name for brand in ("less", "betterbase") for name in NAMES},
}
NAMED: Final = re.compile(r"^Usage: \S+")
PRIVATE: Final = (
    *(".git/config", ".env", ".env.example", "data/postgres/PG_VERSION", "build/lib/x.py", "dist/x.whl"),
    *("README.txt", "docs/operations.md", "sync/README.md", "auth/.env", "auth/__pycache__/ucan.pyc"),
    *("tests/conftest.py", "compose.yaml", "Dockerfile", "Dockerfile.dev", ".coverage", "dev/issuer.pem"),
    *("less_sync.egg-info/PKG-INFO", ".venv/bin/python", "notes.db", "deploy/nginx.conf"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("image")
    lay_out(root)
    return root


def run(program: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    env: Mapping[str, str] = {"PATH": os.defpath, "HOME": str(program.parent), **variables}
    return subprocess.run(
        [program, *arguments], env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def test_the_final_stage_runs_as_65532_and_says_how_it_is_reached_stopped_and_probed() -> None:
    assert {word: values(FINAL, word) for word in ("USER", "WORKDIR", "EXPOSE", "STOPSIGNAL")} == {
        "USER": ["65532:65532"],
        "WORKDIR": ["/app"],
        "EXPOSE": ["5379"],
        "STOPSIGNAL": ["SIGTERM"],
    }
    (start,) = [one for one in FINAL if one.word == "ENTRYPOINT"]
    assert start.words() == ["/usr/local/bin/less-sync-entrypoint"]
    (probe,) = values(FINAL, "HEALTHCHECK")
    assert " curl --fail " in probe
    assert probe.endswith("http://127.0.0.1:5379/health")
    (variables,) = values(FINAL, "ENV")
    assert variables.split() == ["PYTHONUNBUFFERED=1", "DATA_DIR=/var/lib/less-sync"]


def test_the_final_stage_has_both_probes_its_user_and_no_tool_that_builds() -> None:
    packages, user, _ = values(FINAL, "RUN")
    assert packages.split("recommends ")[1].split(" &&")[0].split() == ["ca-certificates", "curl", "wget"]
    assert "groupadd --gid 65532 nonroot" in user
    assert "useradd --uid 65532 --gid 65532 --no-create-home" in user
    made = " ".join(part for part in user.split("&&") if "--owner=65532 --group=65532" in part)
    assert {"/var/lib/less-sync/files", "/var/lib/betterbase-sync/files"} <= set(made.split())
    assert len(stages("Dockerfile")) == 2
    assert not [
        command for command in values(FINAL, "RUN") if "pip " in command or "build-essential" in command
    ]


def test_the_images_have_the_python_that_the_tests_run_on_or_newer() -> None:
    for name in ("Dockerfile", "Dockerfile.dev"):
        version = instructions(name)[0].value.removeprefix("PYTHON=")
        assert tuple(map(int, version.split("."))) >= (3, 11)
        bases = [stage[0].value.split(" AS ")[0] for stage in stages(name)]
        assert set(bases) == {"python:${PYTHON}-slim-bookworm"}


def test_both_images_install_what_constraints_name() -> None:
    for name in ("Dockerfile", "Dockerfile.dev"):
        (line,) = [one for one in instructions(name) if "pip --python" in one.value]
        assert "/opt/less-sync/bin/python install" in line.value
        assert "--constraint constraints.txt '.[server,cluster]'" in line.value


def test_libraries_of_the_development_image_lie_where_no_mount_hides_them() -> None:
    (only,) = stages("Dockerfile.dev")
    assert values(only, "WORKDIR") == ["/app"]
    assert values(only, "USER") == []
    assert not [one for one in only if one.word == "COPY" and one.value.split()[-1].startswith("/app")]
    (variables,) = values(only, "ENV")
    assert "PYTHONPATH=/app" in variables.split()


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.dev"])
def test_what_is_copied_is_there_and_sent_to_the_engine(name: str) -> None:
    for copied in (one.value for one in instructions(name) if one.word == "COPY"):
        source = copied.split()[0]
        if not source.startswith("--from="):
            assert (ROOT / source).exists()
            assert source == "." or is_sent(source)
    for script in ("deploy/entrypoint.sh", "deploy/dev-entrypoint.sh"):
        assert is_sent(script)
        assert (ROOT / script).stat().st_mode & stat.S_IXOTH


@pytest.mark.parametrize("path", PRIVATE)
def test_nothing_private_and_nothing_built_is_sent_to_the_engine(path: str) -> None:
    assert not is_sent(path)


def test_what_is_sent_makes_the_same_wheel_as_the_checkout(tmp_path: Path) -> None:
    whole = copy_tracked(tmp_path / "whole")
    sent = copy_tracked(tmp_path / "sent")
    kept = {sent / name for name in context()}
    for path in sorted(sent.rglob("*"), reverse=True):
        if (path.is_file() or path.is_symlink()) and path not in kept:
            path.unlink()
    wheels = [build("wheel", source, tmp_path / f"{source.name}-wheel") for source in (whole, sent)]
    assert contents(wheels[0]) == contents(wheels[1])


def test_every_name_of_the_existing_images_starts_the_program_that_it_means(tree: Path) -> None:
    for path, name in PROGRAMS.items():
        own = "less-sync-server" if name == "server" else name
        told, meant = run(tree / path[1:], "--help"), run(tree / "opt/less-sync/bin" / own, "--help")
        assert told.returncode == 0, told.stderr
        assert NAMED.sub("", told.stdout) == NAMED.sub("", meant.stdout) != "", path
    entrypoint = tree / "usr/local/bin/betterbase-sync-entrypoint"
    assert entrypoint.resolve() == tree / "usr/local/bin/less-sync-entrypoint"
