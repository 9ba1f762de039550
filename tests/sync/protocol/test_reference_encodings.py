"""The encodings that docs/protocol.md 3.3 spells out, byte for byte."""

import pytest

from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import (
    encode_chunk,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)
from less_sync.sync.protocol.messages import AuthParams, ChunkedResult, Empty, PullCommit, PushResult


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            encode_error("req-1", ErrorCode.METHOD_NOT_FOUND, "unknown method: x"),
            "a3647479706501626964657265712d31656572726f72a264636f6465706d6574686f645f6e6f745f666f756e64"
            "676d65737361676571756e6b6e6f776e206d6574686f643a2078",
        ),
        (encode_response("r", Empty()), "a3647479706501626964617266726573756c74a0"),
        (
            encode_response("p", PushResult(True, 77)),
            "a3647479706501626964617066726573756c74a2626f6bf566637572736f72184d",
        ),
        (
            encode_response("p", PushResult(False, error=ErrorCode.CONFLICT)),
            "a3647479706501626964617066726573756c74a2626f6bf4656572726f7268636f6e666c696374",
        ),
        (
            encode_response("p", ChunkedResult(3)),
            "a3647479706501626964617066726573756c74a1675f6368756e6b7303",
        ),
        (
            encode_chunk("p", "pull.commit", PullCommit("s", 0, 7, 1)),
            "a46474797065036269646170646e616d656b70756c6c2e636f6d6d69746464617461a4657370616365617364707265"
            "760066637572736f720765636f756e7401",
        ),
        (
            encode_notification("invitation", Empty()),
            "a3647479706502666d6574686f646a696e7669746174696f6e66706172616d73a0",
        ),
        (
            encode_notification("auth", AuthParams("t")),
            "a3647479706502666d6574686f64646175746866706172616d73a165746f6b656e6174",
        ),
        (
            encode_request("a", "x", {"spaces": []}),
            "a46474797065006269646161666d6574686f64617866706172616d73a16673706163657380",
        ),
    ],
)
def test_frame_is_encoded_as_the_protocol_spells_it(frame: bytes, expected: str) -> None:
    assert frame.hex() == expected
