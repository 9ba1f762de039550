"""Every bound of a link to a peer, with its unit in its name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from less_sync.sync.protocol.frames import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from less_sync.sync.client.connection import ChunkBounds


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds and timers of one link, defaults as docs/federation.md 8 states them."""

    # The connection.
    connect_timeout_s: float = 5.0
    """For each dial: TCP, TLS and the answer to the upgrade together."""
    close_timeout_s: float = 2.0
    frame_bytes: int = FRAME_BYTES_MAX
    """Of one message of the peer."""
    ping_interval_s: float = 30.0
    pong_timeout_s: float = 20.0
    """After a ping anything counts as an answer: a pong, a frame, a part of one."""
    idle_s: float = 600.0
    """Without calls and without anything wanted."""
    # When to dial again.
    backoff_first_s: float = 0.5
    backoff_max_s: float = 60.0
    backoff_jitter: float = 0.2
    refused_first_s: float = 30.0
    refused_max_s: float = 300.0
    violated_first_s: float = 5.0
    recycled_s: float = 1.0
    settled_s: float = 30.0
    """A connection that was open for so long was a good one: what failed before it is forgotten."""
    # Calls.
    call_timeout_s: float = 20.0
    """From the call to its response, with everything it waits for in between."""
    message_bytes: int = 16 * 1024 * 1024
    """Of one message to the peer."""
    calls_in_flight: int = 256
    held_bytes: int = 64 * 1024 * 1024
    """Of all requests that are not answered yet, wherever they wait."""
    unsent_bytes: int = 1024 * 1024
    """What the transport may hold before no other message is given to it: one more message is the most."""
    retry_within_s: float = 2.0
    """A call outlives a failed dial if the next is not further away."""
    dial_age_s: float = 1.0
    """A call makes a link that waits dial at once, unless the last dial is as young as this."""
    # Pulls.
    pull_connections: int = 4
    pulls_shared: int = 4
    """Pulls at a time over the connection of the calls."""
    pull_silence_s: float = 20.0
    pull_connection_idle_s: float = 60.0
    pull_refused_s: float = 60.0
    """After the peer would not have another connection, none is asked for so long."""
    pull_chunks: int = 64
    pull_bytes: int = 1024 * 1024
    parked_chunks: int = 16_384
    parked_bytes: int = 8 * 1024 * 1024

    @property
    def chunk_bounds(self) -> "ChunkBounds":
        """What of one pull may wait for whoever reads it."""
        from less_sync.sync.client.connection import ChunkBounds

        return ChunkBounds(self.pull_chunks, self.pull_bytes, self.parked_chunks, self.parked_bytes)
