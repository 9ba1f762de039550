"""Whatever a server sends can be shown: what it chose to send is never an exception of a check."""

import cbor2
import pytest

from less_sync.validation.evidence import EVIDENCE_BYTES_MAX, Evidence, shown_frame


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        b"\x61\xff",
        b"\x9f" * 2000,
        b"\x81" * 390 + b"\x00",
        b"\xd8\x23\x61[",  # a regular expression that is none
        b"\xc0\x61x",  # a time that is none
        b"\xd8\x1c\x81\xd8\x1d\x00",  # a list that holds itself
        b"\xa1\x80\x00",
    ],
)
def test_frames_of_any_kind_are_shown(frame: bytes) -> None:
    assert 0 < len(shown_frame(frame)) < 20_000


def test_frames_are_shown_in_diagnostic_notation() -> None:
    frame = cbor2.dumps({"type": 1, "id": "v1", "result": {"ok": True, "blob": b"\x01" * 40}})
    shown = shown_frame(frame)
    assert shown.startswith('{"type": 1, "id": "v1", "result": {"ok": true, "blob": h\'01010101')
    assert "(40 bytes, sha256 " in shown


def test_evidence_is_bounded_and_says_what_is_missing() -> None:
    evidence = Evidence()
    for _ in range(600):
        evidence.note("x" * 4096)
    assert len(evidence.text) <= EVIDENCE_BYTES_MAX + 100
    assert evidence.text.endswith("bytes more are not kept)\n")
