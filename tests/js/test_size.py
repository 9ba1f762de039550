"""What a browser loads for the client, and that it is all the client's own."""

import gzip
import subprocess

from tests.node import CLIENT, NODE

GZIPPED_BYTES_MAX = 40 * 1024
ESBUILD = CLIENT / "node_modules" / "esbuild" / "bin" / "esbuild"


def bundled(entry: str) -> bytes:
    """One module with all that it imports, minified. What it does not find fails."""
    options = ["--bundle", "--minify", "--format=esm", "--platform=browser"]
    done = subprocess.run(
        [str(NODE), str(ESBUILD), entry, *options], cwd=CLIENT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_the_client_is_small_and_imports_nothing_but_itself() -> None:
    made = bundled("src/index.js")
    assert len(gzip.compress(made, mtime=0)) <= GZIPPED_BYTES_MAX, (len(made), len(gzip.compress(made)))
    assert b"//# sourceMappingURL" not in made


def test_the_adapter_for_yjs_brings_no_yjs() -> None:
    assert len(gzip.compress(bundled("src/yjs.js"), mtime=0)) <= GZIPPED_BYTES_MAX // 8
