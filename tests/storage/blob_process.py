"""One upload into a directory, or into a bucket, in a process of its own: to be limited, misled or killed.

Started as `python -m tests.storage.blob_process` with one JSON object of options; it prints what came out.
"""

import asyncio
import json
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from less_sync.storage.blobs import BlobError, BlobKey, BlobStore
from less_sync.storage.objects.local import LocalBlobs
from less_sync.storage.objects.s3 import S3Blobs
from tests.storage.blobs import at_once, write

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Options:
    """What the process is to do."""

    space: str
    file: str
    directory: str
    """Of contents, or of what is staged when there is an endpoint."""
    endpoint: str = ""
    size_bytes: int = 300_000
    file_bytes_max: int = 0
    """How large a file may become; 0 for no limit."""
    wait_before_publishing: bool = False


async def start(options: Options, env: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    """Start it, with `env` as its only variables."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.storage.blob_process", json.dumps(asdict(options))),
        cwd=ROOT,
        env=env or {},
        stdout=asyncio.subprocess.PIPE,
    )


def _store(options: Options) -> BlobStore:
    if not options.endpoint:
        return LocalBlobs.at(Path(options.directory))
    return S3Blobs(
        endpoint=options.endpoint,
        bucket="a-bucket",
        region="eu-test-1",
        access_key="the-access-key",
        secret_key="the-secret-key",
        staging=Path(options.directory),
    )


async def main(options: Options) -> None:
    """Upload, and say how it went."""
    if options.file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_bytes_max, options.file_bytes_max))
    store = _store(options)
    try:
        async with store.stage(BlobKey(UUID(options.space), UUID(options.file))) as staged:
            await write(staged, b"n" * options.size_bytes)
            if options.wait_before_publishing:
                print("staged", flush=True)
                await asyncio.Event().wait()
            await staged.publish(at_once)
        print("published")
    except BlobError as error:
        print(error)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(Options(**json.loads(sys.argv[1]))))
