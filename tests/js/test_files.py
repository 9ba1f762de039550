"""The tests of the JavaScript client, one file each: `clients/js/tests/*.test.js`, run by Node."""

from pathlib import Path

import pytest

from tests.js.nodes import FILES, run_node, server_for_node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_every_test_of_the_file_runs_and_passes(path: Path, database_url: str, tmp_path: Path) -> None:
    async with server_for_node(database_url, tmp_path) as variables:
        done = await run_node(path, variables=variables)
    assert done.all_passed, done.output


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('test.skip("is skipped", () => {});', "# skipped 1"),
        ("", ""),
        ('test("one passes", () => {}); Promise.reject(new Error("unhandled"));', "unhandled"),
    ],
    ids=["skips", "has none", "leaves an error"],
)
async def test_a_file_that_fails_or_skips_or_has_no_test_is_told_from_one_that_passes(
    source: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "one.test.mjs").write_text(f'import test from "node:test";\n{source}\n')
    done = await run_node(tmp_path / "one.test.mjs", variables={})
    assert (done.all_passed, told in done.output) == (False, True), done.output
