"""An encrypted album of pictures, or any files, of one user: `add PATH`, `list`, `get ID PATH` or `watch`.

ALBUM_SERVER       wss://sync.example.org/api/v1/ws
ALBUM_TOKEN_FILE   a file with a token of the user that has the scope `files`
ALBUM_KEY          64 hexadecimal digits, the same on every device
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from less_sync import (
    FileClient,
    FileNotice,
    PullRecord,
    PushChange,
    SubscribeSpace,
    SyncClient,
    SyncClientError,
    personal_space,
)

CHUNK, TAG = 1024 * 1024, 16
EPOCH = (1).to_bytes(4, "big")
NAME = b"\xff" * 12


def nonce(number: int, *, last: bool) -> bytes:
    """So no chunk changes places or is missing. Each picture has its own key, so no nonce comes twice."""
    return number.to_bytes(11, "big") + bytes([last])


async def sealed(path: Path, key: bytes) -> AsyncIterator[bytes]:
    """The file, encrypted a chunk at a time; the same bytes each time."""
    with path.open("rb") as file:
        number, chunk = 0, await asyncio.to_thread(file.read, CHUNK)
        while True:
            following = await asyncio.to_thread(file.read, CHUNK)
            yield AESGCM(key).encrypt(nonce(number, last=not following), chunk, None)
            if not following:
                return
            number, chunk = number + 1, following


def sealed_size(size: int) -> int:
    """How long `sealed` is: each chunk has a tag, and there is at least one."""
    return size + TAG * max(1, -(-size // CHUNK))


async def opened(pieces: AsyncIterator[bytes], key: bytes) -> AsyncIterator[bytes]:
    """Decrypt what `sealed` made; it comes in pieces of other sizes."""
    waiting, number = b"", 0
    async for piece in pieces:
        waiting += piece
        while len(waiting) > CHUNK + TAG:
            yield AESGCM(key).decrypt(nonce(number, last=False), waiting[: CHUNK + TAG], None)
            waiting, number = waiting[CHUNK + TAG :], number + 1
    yield AESGCM(key).decrypt(nonce(number, last=True), waiting, None)


class Album:
    """Each picture is a record with its name and a file with its content. The two have one id."""

    def __init__(self, sync: SyncClient, files: FileClient, space: str, key: bytes) -> None:
        self.sync, self.files, self.space, self.key = sync, files, space, key

    async def add(self, path: Path) -> None:
        """Push the record first: a file must have one, and goes when that is deleted."""
        picture, key = uuid4(), os.urandom(32)
        size = (await asyncio.to_thread(path.stat)).st_size
        dek = EPOCH + aes_key_wrap(self.key, key)
        name = AESGCM(key).encrypt(NAME, path.name.encode(), picture.bytes)
        change = PushChange(id=str(picture), blob=name, expected_cursor=0, dek=dek)
        result = await self.sync.push(self.space, [change])
        if not result.ok:
            sys.exit(f"not written: {result.error}")
        await self.files.upload(
            self.space,
            picture,
            record=picture,
            wrapped_dek=dek,
            size_bytes=sealed_size(size),
            content=lambda: sealed(path, key),
        )
        print(picture)

    async def show(self) -> None:
        """Print what is there."""
        async for event in self.sync.pull(self.space, 0):
            match event:
                case PullRecord(id=picture, blob=bytes(name), dek=bytes(dek)):
                    key = aes_key_unwrap(self.key, dek[4:])
                    print(picture, AESGCM(key).decrypt(NAME, name, UUID(picture).bytes).decode())

    async def get(self, picture: UUID, path: Path) -> None:
        """Download a picture. The path has it whole, or not at all."""
        async with self.files.download(self.space, picture) as found:
            if found is None:
                sys.exit("there is no such picture")
            key = aes_key_unwrap(self.key, found.wrapped_dek[4:])
            unfinished = path.with_name(f"{path.name}.part")
            with unfinished.open("wb") as file:
                async for chunk in opened(found.chunks(), key):
                    await asyncio.to_thread(file.write, chunk)
        unfinished.replace(path)

    async def watch(self) -> None:
        """Print what comes and goes. Ends with the client."""
        await self.sync.subscribe([SubscribeSpace(id=self.space, since=0)])
        print("watching", flush=True)
        async for notice in self.sync.notices():
            if isinstance(notice, FileNotice):
                for change in notice.files:
                    print(change.id, "deleted" if change.deleted else f"{change.size} bytes", flush=True)


async def main(words: list[str]) -> None:
    """Do what the command line says."""
    server, token_file = os.environ["ALBUM_SERVER"], Path(os.environ["ALBUM_TOKEN_FILE"])

    async def token() -> str:
        return (await asyncio.to_thread(token_file.read_text)).strip()

    space = str(personal_space(await token()))
    async with SyncClient(server, token) as sync, FileClient(server, token) as files:
        album = Album(sync, files, space, bytes.fromhex(os.environ["ALBUM_KEY"]))
        match words:
            case ["add", path]:
                await album.add(Path(path))
            case ["list"]:
                await album.show()
            case ["get", picture, path]:
                await album.get(UUID(picture), Path(path))
            case ["watch"]:
                await album.watch()
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except SyncClientError as error:
        sys.exit(f"album: {error}")
    except KeyboardInterrupt:
        pass
