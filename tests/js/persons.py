"""People with the JavaScript client: a Node process each, on the same `shared.json` as their folder's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from less_sync.client.folder.shared import SharedFile
from less_sync.client.sharing.person import Person
from tests.client.sharing.members import jwk_of
from tests.node import CLIENT, NODE, environment

ANSWER_S_MAX: Final = 40.0
KILLED: Final = 9
LINE_BYTES_MAX: Final = 1 << 22


class KilledAtStep(Exception):  # what was wanted, no error
    """The process ended at the step that it was told to end at."""


class Refusal(Exception):  # it carries the code
    """The client refused, or failed; the text is its code."""


@dataclass
class NodePerson:
    """A process that takes orders; those of clients/js/tests/member.js."""

    process: asyncio.subprocess.Process

    async def ask(self, order: str, **more: object) -> Any:
        """What became of an order.

        Raises:
            Refusal: the client said so.
            KilledAtStep: it ended as it was told to.
        """
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": order, **more}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_S_MAX):
            line = await stdout.readline()
            if not line:
                assert await self.process.wait() == KILLED
                raise KilledAtStep
        answer = json.loads(line)
        if "error" in answer:
            raise Refusal(answer["error"])
        return answer["ok"]


@asynccontextmanager
async def node_person(port: int, token: str, person: Person, folder: Path) -> AsyncIterator[NodePerson]:
    """Somebody at a server on a loopback port, with what is kept in a folder, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        NODE,
        CLIENT / "tests" / "member.js",
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    try:
        state = str(SharedFile(folder).path)
        given = {"server": f"http://127.0.0.1:{port}", "token": token, "jwk": jwk_of(person), "state": state}
        assert process.stdin is not None
        process.stdin.write(json.dumps(given).encode() + b"\n")
        yield NodePerson(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
