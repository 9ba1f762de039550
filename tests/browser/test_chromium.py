"""Where Chromium comes from, and what is said where it cannot come from anywhere."""

from pathlib import Path

import pytest

from tests.browser.chromium import INSTALL, install, obstacle


@pytest.mark.parametrize(
    ("named", "debian", "user", "told"),
    [
        ("chrome-7", True, 0, "CHROMIUM=chrome-7 is no program"),
        (None, False, 0, "no Chromium was found, and only on Debian is it installed from here"),
        (None, True, 1000, "no Chromium was found, and only root may install it: apt-get install "),
        (None, True, 0, None),
    ],
)
def test_where_it_may_not_be_installed_the_reason_is_said(
    named: str | None, debian: bool, user: int, told: str | None, tmp_path: Path
) -> None:
    release = tmp_path / "debian_version"
    if debian:
        release.write_text("12.11\n")
    reason = obstacle(named=named, release=release, user=user)
    assert (reason or "").startswith(told or "")
    assert (reason is None) == (told is None)


def test_a_command_that_fails_ends_the_installation_and_is_named() -> None:
    run: list[tuple[str, ...]] = []

    def failing(command: tuple[str, ...]) -> int:
        run.append(command)
        return 100

    assert install(failing) == "apt-get update -qq: exit status 100"
    assert run == [INSTALL[0]]
