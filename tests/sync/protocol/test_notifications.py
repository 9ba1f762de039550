"""Announcements: the bytes of a generic encoder, and what happens to those that are too long."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cbor2 import dumps, loads
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.frames import (
    FRAME_BYTES_MAX,
    Notification,
    decode_server_frame,
    encode_notification,
)
from less_sync.sync.protocol.messages import (
    EventNotice,
    FileChange,
    FileNotice,
    MemberEntry,
    MembershipNotice,
    PresenceLeaveNotice,
    PresenceNotice,
    PushChange,
    ResubscribeNotice,
    RevokedNotice,
    SyncNotice,
    SyncRecord,
    decode_params,
)
from less_sync.sync.protocol.notifications import (
    INVITATION,
    event_notification,
    file_notification,
    membership_notification,
    presence_leave_notification,
    presence_notification,
    removed_files_notification,
    resubscribe_notification,
    revoked_notification,
    sync_notification,
)

SPACE = "4b131aa1-543c-5c6b-92cd-3db468a95e64"
RECORD = "AAAAAAAA-0000-4000-8000-00000000000F"

blobs = st.none() | st.binary(max_size=300) | st.just(bytes(70_000))
changes = st.lists(
    st.builds(
        lambda record_id, upper, blob, dek: PushChange(
            id=str(record_id).upper() if upper else str(record_id), blob=blob, expected_cursor=0, dek=dek
        ),
        st.uuids(),
        st.booleans(),
        blobs,
        st.none() | st.binary(max_size=44),
    ),
    max_size=30,
)


@given(
    st.sampled_from([SPACE, SPACE.upper(), "{" + SPACE + "}", "é"]),
    st.integers(1, 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    changes,
)
def test_sync_is_what_a_generic_encoder_writes(
    space: str, cursor: int, key_generation: int, rewrap_epoch: int | None, changes: list[PushChange]
) -> None:
    frame = sync_notification(
        space, cursor=cursor, key_generation=key_generation, rewrap_epoch=rewrap_epoch, changes=changes
    )
    notice = SyncNotice(
        space=space,
        prev=cursor - 1,
        cursor=cursor,
        key_generation=key_generation,
        rewrap_epoch=rewrap_epoch,
        records=[
            SyncRecord(
                id=change.id.lower(),
                blob=change.blob,
                cursor=cursor,
                dek=change.dek,
                deleted=change.blob is None,
            )
            for change in changes
        ],
    )
    assert frame == encode_notification("sync", notice)
    decoded = decode_server_frame(frame)
    assert isinstance(decoded, Notification)
    assert decode_params(SyncNotice, decoded.params) == notice


def test_sync_spells_the_keys_in_the_declared_order() -> None:
    changes = [
        PushChange(id=RECORD, blob=b"b", expected_cursor=3, dek=b"d"),
        PushChange(id=RECORD, blob=b"", expected_cursor=0),
        PushChange(id=RECORD, expected_cursor=5),
        PushChange(id=RECORD, expected_cursor=5, dek=b""),
    ]
    assert sync_notification(SPACE, cursor=7, key_generation=2, rewrap_epoch=None, changes=changes) == dumps(
        {
            "type": 2,
            "method": "sync",
            "params": {
                "space": SPACE,
                "prev": 6,
                "cursor": 7,
                "key_generation": 2,
                "records": [
                    {"id": RECORD.lower(), "blob": b"b", "cursor": 7, "dek": b"d"},
                    {"id": RECORD.lower(), "blob": b"", "cursor": 7},
                    {"id": RECORD.lower(), "cursor": 7, "deleted": True},
                    {"id": RECORD.lower(), "cursor": 7, "dek": b"", "deleted": True},
                ],
            },
        }
    )


@pytest.mark.parametrize("rewrap_epoch", [None, 4])
def test_a_sync_over_the_limit_says_pull_and_one_at_the_limit_does_not(rewrap_epoch: int | None) -> None:
    def frame(blob_bytes: int) -> bytes:
        change = PushChange(id=RECORD, blob=bytes(blob_bytes), expected_cursor=0)
        return sync_notification(
            SPACE, cursor=9, key_generation=3, rewrap_epoch=rewrap_epoch, changes=[change]
        )

    overhead = len(frame(100_000)) - 100_000
    longest = FRAME_BYTES_MAX - overhead
    assert len(frame(longest)) == FRAME_BYTES_MAX
    expected: dict[str, object] = {"space": SPACE, "prev": 9, "cursor": 9, "key_generation": 3}
    if rewrap_epoch is not None:
        expected["rewrap_epoch"] = rewrap_epoch
    assert frame(longest + 1) == dumps({"type": 2, "method": "sync", "params": {**expected, "records": []}})


def test_files_removed_with_their_records_are_announced_as_deleted() -> None:
    file, record = UUID(int=1), UUID(int=2)
    assert removed_files_notification(SPACE, 8, [(file, record), (record, file)]) == dumps(
        {
            "type": 2,
            "method": "file",
            "params": {
                "space": SPACE,
                "cursor": 8,
                "files": [
                    {"id": str(file), "record_id": str(record), "deleted": True},
                    {"id": str(record), "record_id": str(file), "deleted": True},
                ],
            },
        }
    )


def test_an_uploaded_file_is_announced_with_size_and_dek() -> None:
    change = FileChange(id="f", record_id="r", size=5, dek=b"d")
    frame = file_notification(SPACE, 8, [change])
    assert frame == encode_notification("file", FileNotice(SPACE, 8, [change]))
    assert list(loads(frame)["params"]["files"][0]) == ["id", "record_id", "size", "dek"]


def test_a_file_frame_over_the_limit_names_no_file() -> None:
    removed = [(UUID(int=1), UUID(int=2))] * 3
    whole = removed_files_notification(SPACE, 8, removed)
    assert removed_files_notification(SPACE, 8, removed, frame_bytes_max=len(whole)) == whole
    cut = removed_files_notification(SPACE, 8, removed, frame_bytes_max=len(whole) - 1)
    assert loads(cut)["params"] == {"space": SPACE, "cursor": 8, "files": []}


def test_revoked_and_resubscribe_name_their_spaces() -> None:
    assert revoked_notification(SPACE) == encode_notification("revoked", RevokedNotice(SPACE, "ucan_revoked"))
    assert resubscribe_notification([SPACE, "x"]) == encode_notification(
        "resubscribe", ResubscribeNotice([SPACE, "x"])
    )
    assert loads(resubscribe_notification([SPACE]))["params"] == {"spaces": [SPACE]}
    assert loads(revoked_notification(SPACE))["params"] == {"space": SPACE, "reason": "ucan_revoked"}


def test_a_member_entry_is_announced_alone() -> None:
    first = MemberEntry(chain_seq=1, entry_hash=b"h", payload=b"p")
    later = MemberEntry(chain_seq=2, prev_hash=b"h", entry_hash=b"i", payload=b"q")
    for entry in (first, later):
        frame = membership_notification(SPACE, 7, entry)
        assert frame == encode_notification("membership", MembershipNotice(SPACE, 7, [entry]))
    assert list(loads(frame)["params"]) == ["space", "cursor", "entries"]
    assert list(loads(frame)["params"]["entries"][0]) == ["chain_seq", "prev_hash", "entry_hash", "payload"]


def test_a_membership_frame_over_the_limit_has_no_entry() -> None:
    entry = MemberEntry(chain_seq=1, entry_hash=bytes(32), payload=bytes(100))
    whole = membership_notification(SPACE, 7, entry)
    assert membership_notification(SPACE, 7, entry, frame_bytes_max=len(whole)) == whole
    cut = membership_notification(SPACE, 7, entry, frame_bytes_max=len(whole) - 1)
    assert loads(cut)["params"] == {"space": SPACE, "cursor": 7, "entries": []}


@given(st.text(max_size=5), st.text(max_size=5), st.binary(max_size=5))
def test_presence_and_events_name_space_pseudonym_and_data(space: str, peer: str, data: bytes) -> None:
    presence = presence_notification(space, peer=peer, data=data)
    assert presence == encode_notification("presence", PresenceNotice(space, peer, data))
    leave = presence_leave_notification(space, peer=peer)
    assert leave == encode_notification("presence.leave", PresenceLeaveNotice(space, peer))
    event = event_notification(space, peer=peer, data=data)
    assert event == encode_notification("event", EventNotice(space, peer, data))
    assert loads(presence)["params"] == loads(event)["params"] == {"space": space, "peer": peer, "data": data}
    assert loads(leave)["params"] == {"space": space, "peer": peer}


def recorded_notifications() -> list[bytes]:
    wire = json.loads((Path(__file__).parents[2] / "vectors" / "wire.json").read_text())
    steps = (step for scenario in wire["scenarios"] for step in scenario["steps"])
    frames = (bytes.fromhex(step["expect"]) for step in steps if step.get("expect"))
    return [frame for frame in frames if loads(frame)["type"] == 2]


def rebuilt(method: str, params: dict[str, Any]) -> bytes:
    """The frame as our builders make it from what it says."""
    if method == "membership":
        params["entry"] = MemberEntry(**params.pop("entries")[0])
        return membership_notification(**params)
    if method == "sync":
        return encode_notification("sync", decode_params(SyncNotice, params))
    if method == "file":
        return file_notification(params["space"], params["cursor"], decode_params(FileNotice, params).files)
    builders: dict[str, Callable[..., bytes]] = {
        "presence": presence_notification,
        "presence.leave": presence_leave_notification,
        "event": event_notification,
        "revoked": revoked_notification,
        "resubscribe": resubscribe_notification,
        "invitation": lambda: INVITATION,
    }
    return builders[method](**params)


def test_recorded_notifications_are_built_byte_for_byte() -> None:
    frames = recorded_notifications()
    for frame in frames:
        message = loads(frame)
        assert rebuilt(message["method"], message["params"]) == frame
    seen = {loads(frame)["method"] for frame in frames}
    assert {"membership", "presence", "presence.leave", "event", "revoked", "invitation", "sync"} <= seen
