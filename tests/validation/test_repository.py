"""What is committed of a report: its folder and its line, nothing else, and never pushed."""

from pathlib import Path

import pytest

from less_sync.validation.repository import GitFault, Repository, object_id
from less_sync.validation.verify import verify
from tests.validation.folders import ENVIRONMENT, git, indexed, wanted, work_tree, written


def made(tmp_path: Path) -> tuple[Path, Repository]:
    """A work tree with a remote that refuses to be pushed to, and what is known of it."""
    tree = tmp_path / "tree"
    work_tree(tree)
    git(tree, "remote", "add", "origin", str(tmp_path / "nowhere"))
    (tmp_path / "home").mkdir()
    return tree, Repository.around(tree / "docs" / "new", ENVIRONMENT | {"HOME": str(tmp_path / "home")})


def test_only_the_folder_and_its_line_are_committed(tmp_path: Path) -> None:
    tree, repository = made(tmp_path)
    (tree / "server.py").write_text("edited\n")
    (tree / "untracked").touch()
    done = written(tree / "docs" / "reports" / "small")
    indexed(done)
    commit = repository.commit([done.folder, done.folder.parent / "INDEX.tsv"], "Judge it")
    assert commit == git(tree, "rev-parse", "HEAD")
    names = git(tree, "show", "--name-only", "--format=%s", "HEAD").splitlines()
    assert names[0] == "Judge it"
    assert all(name.startswith("docs/reports/small/") for name in names[2:])
    assert git(tree, "status", "--porcelain").splitlines() == ["M server.py", "?? untracked"]
    assert verify(done.folder, wanted()).met


def test_nothing_is_committed_while_something_else_is_staged(tmp_path: Path) -> None:
    tree, repository = made(tmp_path)
    (tree / "server.py").write_text("edited\n")
    git(tree, "add", "server.py")
    done = written(tree / "docs" / "reports" / "small")
    before = git(tree, "rev-parse", "HEAD")
    with pytest.raises(GitFault, match=r"other changes are staged: server\.py"):
        repository.commit([done.folder], "Judge it")
    assert git(tree, "rev-parse", "HEAD") == before
    assert git(tree, "diff", "--cached", "--name-only") == "server.py"


def test_hooks_of_the_repository_are_not_run(tmp_path: Path) -> None:
    tree, repository = made(tmp_path)
    hook = tree / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    hook.chmod(0o755)
    (tree / "x").touch()
    repository.commit([tree / "x"], "x")
    assert not (tmp_path / "ran").exists()


def test_names_are_never_patterns(tmp_path: Path) -> None:
    tree, repository = made(tmp_path)
    for name in ("a*", "ab", ":!x"):
        (tree / name).touch()
    repository.commit([tree / "a*", tree / ":!x"], "x")
    assert git(tree, "status", "--porcelain") == "?? ab"


def test_outside_of_a_work_tree_there_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(GitFault, match="rev-parse"):
        Repository.around(tmp_path / "none" / "deep", ENVIRONMENT)
    _, repository = made(tmp_path)
    with pytest.raises(GitFault, match="is not in the work tree"):
        repository.relative(tmp_path / "home")
    with pytest.raises(GitFault, match="no git on the PATH"):
        Repository.around(tmp_path / "tree", {"PATH": str(tmp_path)})


def test_ids_are_those_of_git(tmp_path: Path) -> None:
    tree, _ = made(tmp_path)
    known = git(tree, "hash-object", "server.py")
    assert object_id(b"1\n", like=known) == known
    assert len(object_id(b"1\n", like="0" * 64)) == 64
