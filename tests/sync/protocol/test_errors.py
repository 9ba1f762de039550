"""What the errors of the protocol say: codes and states, never input."""

from less_sync.sync.protocol.codes import INVALID_FRAME
from less_sync.sync.protocol.errors import (
    LocalProtocolError,
    MalformedCbor,
    ParamsError,
    ProtocolError,
    RemoteProtocolError,
)


def test_errors_word_themselves() -> None:
    worded: dict[ProtocolError, str] = {
        RemoteProtocolError(INVALID_FRAME): "close 4005: invalid cbor frame",
        LocalProtocolError(expected="begin", came="commit"): "expected begin, came commit",
        ParamsError("a: missing"): "params do not have the shape of their method: a: missing",
        MalformedCbor(): "malformed CBOR",
    }
    for error, words in worded.items():
        assert str(error) == words
    assert {type(error) for error in worded} == set(ProtocolError.__subclasses__())
