"""Holds what the two clients read of the same membership logs against each other."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

from tests.client.sharing.random_logs import Log
from tests.node import CLIENT, NODE, environment

READ_S_MAX = 120.0


async def read_by_node(logs: Sequence[Log]) -> list[object]:
    """What the JavaScript client makes of each log."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        CLIENT / "tests" / "read_logs.js",
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    given = "".join(f"{log.as_json()}\n" for log in logs).encode()
    try:
        async with asyncio.timeout(READ_S_MAX):
            output, _ = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


async def check_same(logs: dict[int, Log]) -> Counter[str]:
    """Check that both come to the same end for each log, by seed; return what came of the entries."""
    others = await read_by_node(list(logs.values()))
    assert len(others) == len(logs)
    counted: Counter[str] = Counter()
    for (seed, log), other in zip(logs.items(), others, strict=True):
        own = json.loads(json.dumps(log.read()))
        assert own == other, f"seed {seed}"
        counted.update({"refused": 1} if "refused" in own else {"passed over": own["passed_over"]})
        counted["counted"] += 0 if "refused" in own else own["version"] - own["passed_over"]
        counted["keys"] += len(own.get("keys", ()))
        counted["gone"] += len(own.get("gone", ()))
    return counted
