"""Encrypted notes on every device of one user: `list`, `add TEXT`, `edit ID TEXT`, `remove ID` or `watch`.

NOTES_SERVER       wss://sync.example.org/api/v1/ws
NOTES_TOKEN_FILE   a file with a token of the user
NOTES_KEY          64 hexadecimal digits, the same on every device
NOTES_FILE         where this device keeps what it knows
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from uuid import uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from less_sync import (
    ErrorCode,
    PullCommit,
    PullRecord,
    PushChange,
    ResyncNeeded,
    SubscribeSpace,
    SyncClient,
    SyncClientError,
    SyncNotice,
    personal_space,
)


class Notes:
    """What this device knows: of each note its text, and the cursor of the push that wrote it."""

    def __init__(self, client: SyncClient, space: str, key: bytes, file: Path) -> None:
        self.client, self.space, self.cipher, self.file = client, space, AESGCM(key), file
        kept = json.loads(file.read_text() if file.exists() else '{"cursor": 0, "notes": {}}')
        self.cursor: int = kept["cursor"]
        self.notes: dict[str, tuple[int, str]] = kept["notes"]

    def seal(self, note: str, text: str) -> bytes:
        """Encrypt a text for its place: elsewhere the server cannot show it."""
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, text.encode(), f"{self.space}/{note}".encode())

    def open(self, note: str, blob: bytes) -> str:
        """Decrypt what `seal` made."""
        return self.cipher.decrypt(blob[:12], blob[12:], f"{self.space}/{note}".encode()).decode()

    async def pull(self) -> None:
        """Fetch what was written since the last pull. The cursor moves only when all of it came."""
        async for event in self.client.pull(self.space, self.cursor):
            match event:
                case PullRecord(id=note, blob=bytes(blob), deleted=False):
                    self.notes[note] = (event.cursor, self.open(note, blob))
                case PullRecord(id=note):
                    self.notes.pop(note, None)
                case PullCommit(cursor=cursor):
                    self.cursor = cursor
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps({"cursor": self.cursor, "notes": self.notes}))
        unfinished.replace(self.file)

    async def write(self, note: str, text: str | None) -> None:
        """Write a note, None deletes it. If another device was faster, both versions are kept."""
        cursor, _ = self.notes.get(note, (0, ""))
        blob = None if text is None else self.seal(note, text)
        result = await self.client.push(self.space, [PushChange(id=note, blob=blob, expected_cursor=cursor)])
        await self.pull()
        if result.error == ErrorCode.CONFLICT and text is not None:
            await self.write(str(uuid4()), text)
        elif not result.ok:
            sys.exit(f"not written: {result.error}")

    async def watch(self) -> None:
        """Print the notes now and whenever they have changed. Ends with the client."""
        await self.client.subscribe([SubscribeSpace(id=self.space, since=self.cursor)])
        await self.pull()
        self.show()
        async for notice in self.client.notices():
            if isinstance(notice, SyncNotice | ResyncNeeded):
                await self.pull()
                self.show()

    def show(self) -> None:
        """Print the notes, oldest change first."""
        for note in sorted(self.notes, key=lambda note: (self.notes[note][0], note)):
            print(note, self.notes[note][1], flush=True)


async def main(words: list[str]) -> None:
    """Do what the command line says."""
    token_file = Path(os.environ["NOTES_TOKEN_FILE"])

    async def token() -> str:
        return (await asyncio.to_thread(token_file.read_text)).strip()

    space = str(personal_space(await token()))
    async with SyncClient(os.environ["NOTES_SERVER"], token) as client:
        notes = Notes(client, space, bytes.fromhex(os.environ["NOTES_KEY"]), Path(os.environ["NOTES_FILE"]))
        match words:
            case ["list"]:
                await notes.pull()
                notes.show()
            case ["add", text]:
                await notes.write(str(uuid4()), text)
            case ["edit", note, text] if note in notes.notes:
                await notes.write(note, text)
            case ["remove", note] if note in notes.notes:
                await notes.write(note, None)
            case ["watch"]:
                await notes.watch()
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except SyncClientError as error:
        sys.exit(f"notes: {error}")
    except KeyboardInterrupt:
        pass
