"""What a server's frames look like."""

import pytest

from less_sync.sync.http.framing import ws_frame, ws_header


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
        (4 * 1024 * 1024, "827f0000000000400000"),
    ],
)
def test_a_websocket_header_is_final_binary_unmasked(length: int, header: str) -> None:
    assert ws_header(length).hex() == header
    assert ws_frame(bytes(length)) == bytes.fromhex(header) + bytes(length)
