"""Permissions (docs/tokens.md 6)."""

import pytest

from less_sync.auth import Permission, UnknownPermission
from tests.auth.vectors import auth_vectors


@pytest.mark.parametrize("case", auth_vectors()["ucan"]["permissions"], ids=lambda case: case["command"])
def test_command_of_the_vectors_has_its_value(case: dict[str, object]) -> None:
    permission = Permission.from_command(str(case["command"]))
    assert permission == case["value"]
    assert permission.command == case["command"]
    assert Permission.from_value(permission.value) is permission


@pytest.mark.parametrize(
    "command", ["", "/", "/space/*", "/space/write/", "/space", "/SPACE/READ", " /space/read"]
)
def test_other_command_is_unknown(command: str) -> None:
    with pytest.raises(UnknownPermission) as caught:
        Permission.from_command(command)
    assert str(caught.value) == f'unknown command "{command}"'


@pytest.mark.parametrize("value", [0, 4, -1, 255])
def test_other_value_is_unknown(value: int) -> None:
    with pytest.raises(UnknownPermission) as caught:
        Permission.from_value(value)
    assert str(caught.value) == f"unknown permission value {value}"


def test_error_shows_no_more_than_the_start_of_a_command() -> None:
    with pytest.raises(UnknownPermission) as caught:
        Permission.from_command("x" * 60_000)
    assert len(str(caught.value)) < 100


def test_each_permission_covers_itself_and_those_below() -> None:
    read, write, admin = Permission
    for holder, covered in ((read, {read}), (write, {read, write}), (admin, {read, write, admin})):
        assert {needed for needed in Permission if holder.covers(needed)} == covered
