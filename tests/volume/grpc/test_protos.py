"""The generated modules belong to the files they were made from, and say what the wire needs."""

import subprocess
import sys
from pathlib import Path

from less_sync.volume.grpc.protos import master_pb2, volume_server_pb2

ROOT = Path(__file__).resolve().parents[3]
PROTOS = ROOT / "volume" / "grpc" / "protos"
NAMES = ("master", "remote", "volume_server")


def test_generated_modules_are_those_of_the_proto_files(tmp_path: Path) -> None:
    sources = [f"less_sync/volume/grpc/protos/{name}.proto" for name in NAMES]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT)]
    command += [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *sources]
    subprocess.run(command, check=True, timeout=60, cwd=ROOT)
    made = tmp_path / "less_sync" / "volume" / "grpc" / "protos"
    for name in NAMES:
        for ending in ("_pb2.py", "_pb2.pyi"):
            committed = (PROTOS / f"{name}{ending}").read_bytes()
            assert (made / f"{name}{ending}").read_bytes() == committed, "run `make protos`"


def test_an_absent_digest_differs_from_a_digest_of_nothing() -> None:
    absent, nothing = master_pb2.Heartbeat(), master_pb2.Heartbeat(volume_digest=0)
    assert not absent.HasField("volume_digest")
    assert nothing.HasField("volume_digest")
    assert absent.SerializeToString() != nothing.SerializeToString()


def test_an_empty_piece_of_content_is_told_from_no_content() -> None:
    kinds = [
        volume_server_pb2.ReceiveFileRequest.FromString(raw).WhichOneof("data")
        for raw in (b"", b"\x12\x00", b"\x0a\x00")
    ]
    assert kinds == [None, "file_content", "info"]


def test_an_unknown_mode_of_a_scrub_reaches_the_server() -> None:
    assert volume_server_pb2.ScrubVolumeRequest.FromString(b"\x08\x63").mode == 99
