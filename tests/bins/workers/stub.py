"""Speaks as a worker does and serves nobody: `stub.py MODE DIRECTORY CHANNEL`.

Each that begins leaves a file `NUMBER-PID` in the directory. Modes: `good` gets ready and ends when it is
told to; `deaf` gets ready and does not; `mute` ends without a word; `fails` says why and ends; `garbage` says
what nobody understands; `slow` never gets ready; `second-fails` is good if it is the first to begin.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path


def main(mode: str, directory: Path, channel: socket.socket) -> int:
    """Do as the mode says."""
    incoming = channel.makefile("rb")

    def receive() -> dict[str, object]:
        length = incoming.read(4)
        return dict(json.loads(incoming.read(int.from_bytes(length, "big")))) if length else {}

    def send(**message: object) -> None:
        content = json.dumps(message).encode()
        channel.sendall(len(content).to_bytes(4, "big") + content)

    begin = receive()
    if begin.get("type") != "Begin":
        return 0
    if mode == "second-fails":
        mode = "fails" if any(directory.iterdir()) else "good"
    (directory / f"{begin['number']}-{os.getpid()}").touch()
    if begin["migrate"]:
        send(type="Migrated")
    match mode:
        case "mute":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fails":
            send(type="Failed", words="there is no such thing", causes=["nobody made it"])
            return 1
        case "garbage":
            channel.sendall(b"\x00\x00\x00\x02{]")
            time.sleep(600)
        case "slow":
            time.sleep(600)
    send(type="Ready")
    while message := receive():
        if message.get("type") == "Stop" and mode != "deaf":
            break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), socket.socket(fileno=int(sys.argv[3]))))
