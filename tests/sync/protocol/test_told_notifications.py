"""Notifications as other nodes tell them: of several pushes at once, recognised, and spelled anew."""

import pytest
from cbor2 import dumps, loads

from less_sync.sync.protocol.frames import encode_notification
from less_sync.sync.protocol.messages import (
    FileChange,
    MemberEntry,
    PushChange,
    SyncNotice,
    SyncRecord,
    decode_params,
)
from less_sync.sync.protocol.notifications import (
    catch_up_notification,
    file_notification,
    membership_notification,
    presence_notification,
    pull_notification,
    records_notification,
    respelled,
    sync_notification,
    tells_of,
)

SPACE = "986ac463-d1dc-59d9-b4ad-4f9de23a271b"
OTHER = "00000000-d1dc-59d9-b4ad-4f9de23a271b"
CURSORS = (1, 23, 24, 255, 256, 2**32, 2**63 - 1)


def pushed(cursor: int, rewrap_epoch: int | None, space: str = SPACE) -> bytes:
    change = PushChange(id=OTHER, blob=b"x", expected_cursor=0)
    return sync_notification(
        space, cursor=cursor, key_generation=1, rewrap_epoch=rewrap_epoch, changes=[change]
    )


def told(cursor: int) -> list[bytes]:
    """Each notification that a commit may be told as."""
    member = MemberEntry(chain_seq=1, entry_hash=b"h" * 32, payload=SPACE.encode())
    file = FileChange(id=OTHER, record_id=OTHER, deleted=True)
    return [
        pushed(cursor, None),
        pushed(cursor, 7),
        pull_notification(SPACE, cursor=cursor, key_generation=1, rewrap_epoch=None),
        membership_notification(SPACE, cursor, member),
        file_notification(SPACE, cursor, [file]),
    ]


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_frame_tells_of_its_own_commit_alone(cursor: int) -> None:
    for frame in told(cursor):
        assert tells_of(frame, SPACE, cursor)
        assert not tells_of(frame, OTHER, cursor)
        assert not tells_of(frame, SPACE, cursor - 1)
        assert not tells_of(frame, SPACE, cursor ^ 2)


def test_what_is_no_commit_is_none() -> None:
    frames = [
        catch_up_notification(SPACE, cursor=5, key_generation=1, rewrap_epoch=None),
        presence_notification(SPACE, peer="p", data=b"x"),
        b"",
        pushed(5, None)[:60],
        dumps({"type": 2, "method": "sync", "params": {"cursor": 5, "prev": 4, "space": SPACE}}),
    ]
    assert not any(tells_of(frame, SPACE, 5) for frame in frames)


@pytest.mark.parametrize("spelling", [SPACE.upper(), "{" + SPACE + "}", "urn:uuid:" + SPACE])
def test_a_frame_spelled_anew_is_the_one_that_would_have_been_built(spelling: str) -> None:
    assert respelled(pushed(5, 7), SPACE, spelling) == pushed(5, 7, spelling)
    for frame in told(5):
        message = loads(respelled(frame, SPACE, spelling))
        assert message["params"]["space"] == spelling
        message["params"]["space"] = SPACE
        assert dumps(message) == frame


def test_what_does_not_name_the_space_stays_as_it_is() -> None:
    assert respelled(b"x", SPACE, OTHER) == b"x"


def test_records_of_several_pushes_have_their_own_cursors() -> None:
    records = [
        SyncRecord(id=SPACE, blob=b"1", cursor=5, dek=b"d" * 44),
        SyncRecord(id=OTHER, cursor=7, deleted=True),
    ]
    frame = records_notification(SPACE, prev=4, cursor=9, key_generation=2, rewrap_epoch=3, records=records)
    notice = decode_params(SyncNotice, loads(frame)["params"])
    assert (notice.prev, notice.cursor, notice.records) == (4, 9, records)
    assert (notice.key_generation, notice.rewrap_epoch) == (2, 3)
    assert encode_notification("sync", notice) == frame


def test_too_many_of_them_say_pull() -> None:
    records = [SyncRecord(id=SPACE, blob=bytes(100), cursor=5)]
    one = records_notification(SPACE, prev=4, cursor=5, key_generation=1, rewrap_epoch=None, records=records)
    for size, full in ((len(one), True), (len(one) - 1, False)):
        frame = records_notification(
            SPACE,
            prev=4,
            cursor=5,
            key_generation=1,
            rewrap_epoch=None,
            records=records,
            frame_bytes_max=size,
        )
        pull = pull_notification(SPACE, cursor=5, key_generation=1, rewrap_epoch=None)
        assert frame == (one if full else pull)
