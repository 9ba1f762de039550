"""Every bound of the client protocol, with its unit in its name. Each is a setting `LIMIT_<NAME>`."""

from dataclasses import dataclass

from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, REQUEST_ID_BYTES_MAX, FrameBounds
from less_sync.sync.protocol.items import FRAME_ITEMS_MAX
from less_sync.sync.protocol.scanner import DEPTH_MAX, ODD_FRAME_ITEMS_MAX


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and timers of a session, defaults as the protocol states them."""

    # Handshake and life of a connection.
    auth_timeout_s: float = 5.0
    handshake_timeout_s: float = 15.0
    unauthenticated_sessions: int = 1000
    first_message_bytes: int = 32 * 1024
    first_message_frames: int = 64
    pipelined_bytes: int = 4 * 1024 * 1024
    heads_bytes: int = 8 * 1024
    large_heads_bytes: int = 16 * 1024 * 1024
    keepalive_interval_s: float = 30.0
    silence_timeout_s: float = 60.0
    lifetime_s: float = 3600.0
    lifetime_jitter: float = 0.1
    token_expiry_grace_s: float = 60.0
    write_timeout_s: float = 20.0
    close_timeout_s: float = 5.0
    drain_timeout_s: float = 8.0
    drain_spread_s: float = 30.0
    connections_per_mailbox: int = 16
    # Inbound.
    frame_bytes: int = FRAME_BYTES_MAX
    frame_items: int = FRAME_ITEMS_MAX
    odd_frame_items: int = ODD_FRAME_ITEMS_MAX
    cbor_depth: int = DEPTH_MAX
    request_id_bytes: int = REQUEST_ID_BYTES_MAX
    method_echo_chars: int = 128
    backlog_frames: int = 64
    backlog_bytes: int = 8 * 1024 * 1024
    pushes_in_flight: int = 64
    pulls_waiting: int = 8
    # Outbound.
    outbound_frame_bytes: int = FRAME_BYTES_MAX
    queue_frames: int = 64
    queue_bytes: int = 16 * 1024 * 1024
    write_progress_bytes: int = 64 * 1024
    # Spaces.
    spaces_per_subscribe: int = 1000
    spaces_per_pull: int = 1000
    spaces_per_session: int = 10_000
    # Records.
    records_per_push: int = 100_000
    record_blob_bytes: int = 5 * 1024 * 1024
    push_blob_bytes: int = 500 * 1024 * 1024
    strict_dek: bool = False
    dek_bytes: int = 44
    # Presence and events.
    presence_bytes: int = 1024
    event_bytes: int = 4096
    presence_per_space: int = 100
    presence_answer_bytes: int = 3_670_016
    presence_stale_s: float = 45.0
    presence_sweep_s: float = 15.0
    transient_per_s: int = 50
    transient_burst: int = 200
    # Invitations.
    invitation_payload_bytes: int = 131_072
    invitation_list_default: int = 50
    invitation_list_max: int = 200
    invitation_list_bytes: int = 3_670_016
    invitation_delay_min_s: float = 1.0
    invitation_delay_max_s: float = 5.0
    # Files.
    file_uploads_at_once: int = 64
    file_uploads_per_person: int = 16
    file_downloads_at_once: int = 128
    file_downloads_per_person: int = 32
    file_body_stall_s: float = 60.0
    file_requests_waiting_per_person: int = 64
    # What one person may do per window.
    rate_window_s: int = 3600
    invitations_per_window: int = 10
    membership_appends_per_window: int = 10
    # What the server asks of itself.
    delivery_probe_interval_s: float = 10.0
    delivery_lag_s: float = 2.0

    @property
    def frame_bounds(self) -> FrameBounds:
        """What an inbound frame may have, as the decoder takes it."""
        return FrameBounds(
            request_id_bytes=self.request_id_bytes,
            depth=self.cbor_depth,
            items=self.frame_items,
            odd_items=self.odd_frame_items,
        )
