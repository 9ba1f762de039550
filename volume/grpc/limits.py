"""Sizes and times of the gRPC side."""

from typing import Final

MESSAGE_BYTES_MAX: Final = 1 << 30
"""Of one message, in either direction."""
BLOB_BYTES_MAX: Final = MESSAGE_BYTES_MAX - 64
"""Of the bytes in a message that carries little else."""
FRAME_BYTES: Final = 2 << 20
"""Of the pieces in which files travel."""
STREAMS_MAX: Final = 1_000
"""Calls under way at once on one connection."""
HEADERS_BYTES_MAX: Final = 8 << 20
WINDOW_BYTES: Final = 16 << 20
"""What may be under way to us on one stream before we have taken it."""
PING_AFTER_MS: Final = 60_000
PING_ANSWER_MS: Final = 20_000
PINGS_APART_MS: Final = 20_000
"""Clients that ping more often are sent away."""
CALLS_MAX: Final = 4_096
"""Under way at once, those that have lost their client included."""
STOP_S: Final = 10.0
"""What still runs that long after the stop began is cancelled."""
