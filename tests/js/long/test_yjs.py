"""A document that is typed at length by one and read by another, from JavaScript."""

from pathlib import Path

from tests.js.nodes import run_node, server_for_node

HERE = Path(__file__).parent


async def test_ten_thousand_keystrokes_stay_one_small_entry(database_url: str, tmp_path: Path) -> None:
    async with server_for_node(database_url, tmp_path) as variables:
        done = await run_node(HERE / "yjs_keystrokes.test.js", variables=variables)
    assert done.all_passed, done.output
