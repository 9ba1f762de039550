"""What neither a member who is out, nor one who is in, nor the server can do to a membership log."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from less_sync.auth import Permission, ucan_cid
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import SharedSpace
from less_sync.client.sharing.entries import EPOCH, REMOVED, Entry
from less_sync.client.sharing.log import MemberLog, Reader
from less_sync.sync.protocol.messages import MemberEntry
from tests.client.sharing.members import Member, chained, chained_payloads, founder, joined, ucan

KEY, OTHER = bytes(range(32)), os.urandom(32)


def read(reader: Member, entries: list[MemberEntry]) -> MemberLog:
    return Reader(reader.shared, reader.person).read(entries, len(entries))


def written(*pairs: tuple[Member, Entry]) -> list[MemberEntry]:
    return chained(*((entry, author.person, author.shared.keys) for author, entry in pairs))


def with_token(member: Member, issuer: Member, permission: Permission, *, life_s: int = 10_000) -> Member:
    """The same person, in the possession of another token."""
    shared = issuer.shared
    token = ucan(shared.space, issuer.person, member.person, permission, shared.ucan, life_s=life_s)
    member.file.update(lambda _: SharedSpace(space=shared.space, ucan=token, keys=shared.keys))
    return member


def removal(author: Member, *tokens: str, epoch: int = 1) -> tuple[Member, Entry]:
    return author, author.entry(REMOVED, cids=tuple(map(ucan_cid, tokens)), epoch=epoch)


@pytest.fixture
def alice(tmp_path: Path) -> Member:
    return founder(tmp_path)


@pytest.fixture
def mallory(tmp_path: Path, alice: Member) -> Member:
    return joined(tmp_path, "mallory", alice, Permission.ADMIN)


@pytest.fixture
def bob(tmp_path: Path, alice: Member) -> Member:
    return joined(tmp_path, "bob", alice, Permission.WRITE)


@pytest.mark.parametrize("version", [1, 2])
def test_a_proof_that_was_revoked_before_has_no_power(
    alice: Member, mallory: Member, bob: Member, version: int
) -> None:
    spent = mallory.shared.ucan
    before = [
        (alice, alice.letting_in(mallory)),
        (alice, alice.letting_in(bob)),
        removal(alice, spent),
    ]
    attacks = [
        mallory.entry(REMOVED, cids=(ucan_cid(bob.shared.ucan),)),
        mallory.key_entry(2, KEY, alice),
        mallory.letting_in(mallory),
    ]
    # Dated back to when the proof was good, and by an older release, which knows no places.
    past = [msgspec.structs.replace(one, v=version, at=one.at - 5000) for one in attacks]
    if version == 1:
        before = [(one, msgspec.structs.replace(entry, v=1)) for one, entry in before]
    with_token(mallory, alice, Permission.WRITE)
    log = read(alice, written(*before, *((mallory, one) for one in past)))
    assert (log.passed_over, log.epochs, log.keys) == (3, {}, {})
    assert bob.person.did in log.members
    assert mallory.person.did in log.gone


def test_the_other_text_of_a_revoked_proof_has_no_power_either(alice: Member, mallory: Member) -> None:
    chain = Reader(mallory.shared, mallory.person)
    twin = _twin(mallory.shared.ucan)
    assert twin != mallory.shared.ucan
    forged = msgspec.structs.replace(mallory.key_entry(2, KEY, alice), proof=twin)
    assert chain.read(written((mallory, forged)), 1).epochs.keys() == {2}
    log = read(alice, written(removal(alice, mallory.shared.ucan), (mallory, forged)))
    assert (log.passed_over, log.epochs) == (1, {})


def _twin(text: str) -> str:
    """The other signature that verifies: whoever has one can calculate it."""
    from less_sync.auth import b64url_decode, b64url_encode

    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signed, _, segment = text.rpartition(".")
    signature = b64url_decode(segment)
    other = order - int.from_bytes(signature[32:], "big")
    return f"{signed}.{b64url_encode(signature[:32] + other.to_bytes(32, 'big'))}"


def test_a_proof_that_has_ended_has_no_power_once_a_later_time_was_counted(
    alice: Member, mallory: Member, bob: Member
) -> None:
    with_token(mallory, alice, Permission.ADMIN, life_s=100)
    now_s = int(time.time())
    past = msgspec.structs.replace(mallory.key_entry(2, KEY, alice), at=now_s)
    late = msgspec.structs.replace(mallory.key_entry(2, KEY, alice), at=now_s + 101)
    assert read(alice, written((mallory, past))).epochs.keys() == {2}
    assert read(alice, written((mallory, late))).epochs.keys() == set()
    later = msgspec.structs.replace(alice.letting_in(bob), at=now_s + 101)
    log = read(alice, written((alice, later), (mallory, past)))
    assert (log.passed_over, log.epochs) == (1, {})


def test_who_dates_an_entry_ahead_cannot_outdate_those_their_own_token_comes_from(
    alice: Member, mallory: Member, bob: Member
) -> None:
    with_token(mallory, alice, Permission.WRITE, life_s=9_000)
    now_s = int(time.time())
    ahead, too_far = (
        msgspec.structs.replace(mallory.letting_in(mallory), at=now_s + after_s) for after_s in (8_990, 9_010)
    )
    with_token(bob, alice, Permission.WRITE, life_s=5_000)
    early = (bob, bob.letting_in(bob))
    out = removal(alice, mallory.shared.ucan)
    log = read(alice, written((mallory, ahead), (mallory, too_far), early, out))
    assert (log.passed_over, list(log.members)) == (2, [alice.person.did])
    # With its author, the time is out.
    log = read(alice, written((mallory, ahead), out, early))
    assert (log.passed_over, set(log.members)) == (0, {alice.person.did, bob.person.did})


def test_a_row_that_stands_elsewhere_than_its_author_put_it_does_not_count(
    alice: Member, mallory: Member, bob: Member
) -> None:
    rows = written(
        (mallory, mallory.key_entry(2, KEY, alice)),
        removal(alice, mallory.shared.ucan),
        (alice, alice.letting_in(bob)),
    )
    handed, removed, letting_in = (row.payload for row in rows)
    assert read(alice, rows).passed_over == 0
    for moved, counted in (
        ([handed, removed, letting_in, handed], 3),  # played again
        ([removed, handed, letting_in], 0),  # moved: what was made on top of another log counts no more
        ([handed, letting_in, removed], 1),
        ([handed, letting_in], 1),  # one dropped
        ([os.urandom(200), handed, removed, letting_in], 0),  # one put in
    ):
        log = read(alice, chained_payloads(*moved))
        assert len(moved) - log.passed_over == counted


def test_an_entry_of_an_older_release_counts_until_the_first_that_is_placed(
    alice: Member, bob: Member, tmp_path: Path
) -> None:
    carol = joined(tmp_path, "carol", alice, Permission.READ)
    old = [(alice, msgspec.structs.replace(alice.letting_in(one), v=1)) for one in (bob, carol)]
    assert read(alice, written(*old)).members.keys() == {one.person.did for one in (alice, bob, carol)}
    log = read(alice, written(old[0], (alice, alice.letting_in(bob)), old[1]))
    assert (log.passed_over, set(log.members)) == (1, {alice.person.did, bob.person.did})


def test_a_removal_voids_keys_of_epochs_that_have_not_begun_and_the_next_one_counts(
    alice: Member, mallory: Member, bob: Member
) -> None:
    poison = [(mallory, mallory.key_entry(epoch, KEY, alice)) for epoch in (2, 3, 4)]
    log = read(alice, written(*poison))
    assert log.keys == {2: KEY, 3: KEY, 4: KEY}
    # Epoch 2 had begun when alice removed mallory.
    out = removal(alice, mallory.shared.ucan, epoch=2)
    log = read(alice, written(*poison, out))
    assert log.keys == {2: KEY}
    own = (alice, alice.key_entry(3, OTHER, bob))
    for member, keys in ((alice, {2: KEY, 3: OTHER}), (bob, {3: OTHER})):
        log = read(member, written(*poison, out, own))
        assert (log.keys, log.epochs[3].author) == (keys, alice.person.did)
    # Who has the new key reads what is written under it.
    later = (alice.letting_in(bob), alice.person, {**alice.shared.keys, 3: OTHER})
    entries = chained(
        *((entry, author.person, author.shared.keys) for author, entry in (*poison, out, own)), later
    )
    assert read(alice, entries).passed_over == 0


def test_no_removal_takes_away_the_key_of_an_epoch_that_others_show_to_have_begun(
    alice: Member, mallory: Member, tmp_path: Path
) -> None:
    carol = joined(tmp_path, "carol", alice, Permission.ADMIN)
    history = [
        (carol, carol.key_entry(2, KEY, alice)),
        (carol, carol.key_entry(3, OTHER, alice)),
        removal(alice, carol.shared.ucan, epoch=3),
    ]
    # Mallory, an administrator, says that none of them has begun, and offers keys of her own.
    denial = removal(mallory, carol.shared.ucan, epoch=0)
    log = read(alice, written(*history, denial, (mallory, mallory.key_entry(3, KEY, alice))))
    assert log.keys == {2: KEY, 3: OTHER}
    # Nor does her word make an epoch begin, once she is out.
    claim = removal(mallory, carol.shared.ucan, epoch=9)
    poison = (mallory, mallory.key_entry(4, KEY, alice))
    out = removal(alice, mallory.shared.ucan, epoch=3)
    assert read(alice, written(*history, claim, poison, out)).keys == {2: KEY, 3: OTHER}


def test_nobody_is_given_another_key_than_the_rest(alice: Member, mallory: Member, bob: Member) -> None:
    for_alice, for_bob = mallory.key_entry(2, KEY, alice), mallory.key_entry(2, OTHER, bob)
    split = msgspec.structs.replace(for_alice, keys={**for_alice.keys, **for_bob.keys})
    entries = written((mallory, split))
    assert [read(one, entries).keys for one in (alice, bob)] == [{2: KEY}, {}]
    # Who was left out is given the same key by a later entry, and no other.
    more = [(alice, alice.key_entry(2, key, bob)) for key in (OTHER, KEY)]
    entries = written((mallory, for_alice), *more)
    assert [read(one, entries).keys for one in (alice, bob)] == [{2: KEY}, {2: KEY}]


def test_a_log_that_does_not_continue_what_was_read_is_refused(
    alice: Member, mallory: Member, bob: Member
) -> None:
    rows = written(
        (alice, alice.letting_in(bob)),
        (alice, alice.letting_in(mallory)),
        removal(alice, mallory.shared.ucan),
    )
    place = read(alice, rows).place
    assert place.entries == 3
    alice.file.update(lambda now: msgspec.structs.replace(now or alice.shared, log=place))
    more = chained_payloads(*(row.payload for row in rows), b"more")
    assert read(alice, more).place.entries == 4
    for shown in (rows[:2], [], chained_payloads(rows[0].payload, rows[1].payload, b"other", b"more")):
        with pytest.raises(FolderError, match="does not continue the one this folder has read before"):
            read(alice, shown)


def test_an_entry_of_no_known_kind_or_about_the_first_epoch_does_not_count(alice: Member) -> None:
    log = read(alice, written((alice, alice.entry("other")), (alice, alice.entry(EPOCH, epoch=1))))
    assert log.passed_over == 2
