"""The membership log as members read it: who wrote what, whether they were allowed, and whose keys it has."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from less_sync.auth import Permission
from less_sync.client.folder.errors import FolderError
from less_sync.client.sharing.entries import EPOCH, REMOVED, Entry, open_entry, seal_entry
from less_sync.client.sharing.log import MemberLog, Reader
from less_sync.sync.protocol.messages import MemberEntry
from tests.client.sharing.members import Member, chained, chained_payloads, founder, joined, new_person, ucan


def read(reader: Member, entries: list[MemberEntry]) -> MemberLog:
    return Reader(reader.shared, reader.person).read(entries, len(entries))


def written(*pairs: tuple[Member, Entry]) -> list[MemberEntry]:
    return chained(*((entry, author.person, author.shared.keys) for author, entry in pairs))


@pytest.fixture
def family(tmp_path: Path) -> tuple[Member, Member, Member]:
    """Alice founded the space, bob may write, carol (let in by bob) may write."""
    alice = founder(tmp_path)
    bob = joined(tmp_path, "bob", alice, Permission.WRITE)
    return alice, bob, joined(tmp_path, "carol", bob, Permission.WRITE)


def test_the_founder_is_in_without_an_entry_and_others_by_one(family: tuple[Member, Member, Member]) -> None:
    alice, bob, carol = family
    assert list(read(alice, []).members) == [alice.person.did]
    log = read(carol, written((alice, alice.letting_in(bob)), (bob, bob.letting_in(carol))))
    assert {did: member.permission for did, member in log.members.items()} == {
        alice.person.did: Permission.ADMIN,
        bob.person.did: Permission.WRITE,
        carol.person.did: Permission.WRITE,
    }
    assert (log.version, log.passed_over) == (2, 0)


def test_a_revoked_member_goes_with_all_whom_they_let_in(family: tuple[Member, Member, Member]) -> None:
    alice, bob, carol = family
    entries = [(alice, alice.letting_in(bob)), (bob, bob.letting_in(carol))]
    cids = read(alice, written(*entries)).members[bob.person.did].cids
    removal = (alice, alice.entry(REMOVED, cids=cids))
    log = read(alice, written(*entries, removal))
    assert list(log.members) == [alice.person.did]
    assert log.gone == {bob.person.did, carol.person.did}
    # The old token counts no more, a new one does.
    again = ucan(alice.shared.space, alice.person, bob.person, Permission.READ, alice.shared.ucan)
    log = read(
        alice,
        written(
            *entries, removal, entries[0], (alice, msgspec.structs.replace(alice.letting_in(bob), ucan=again))
        ),
    )
    assert log.members[bob.person.did].permission is Permission.READ
    assert log.gone == {carol.person.did}


def test_the_key_of_an_epoch_reaches_those_it_was_sealed_for(family: tuple[Member, Member, Member]) -> None:
    alice, bob, carol = family
    key, other = os.urandom(32), os.urandom(32)
    first, second = alice.key_entry(2, key, bob), alice.key_entry(2, other, carol)
    # The next entry is under the new key: who has it reads on.
    later = (alice.letting_in(bob), alice.person, {**alice.shared.keys, 2: key})
    entries = chained(*((one, alice.person, alice.shared.keys) for one in (first, second)), later)
    for member in (alice, bob):
        log = read(member, entries)
        assert (log.keys, log.passed_over) == ({2: key}, 0)
        assert log.epochs[2].keys == first.keys
    log = read(carol, entries)
    assert (log.keys, log.passed_over) == ({}, 1)


def test_who_may_not_cannot_remove_or_hand_out_keys_or_let_in(
    family: tuple[Member, Member, Member], tmp_path: Path
) -> None:
    alice, bob, carol = family
    reader = joined(tmp_path, "reader", alice, Permission.READ)
    stranger = founder(tmp_path, "stranger")
    keys = alice.key_entry(2, bytes(32)).keys
    cids = read(alice, []).members[alice.person.did].cids
    borrowed = msgspec.structs.replace(bob.entry(REMOVED, cids=cids), proof=alice.shared.ucan)
    foreign = msgspec.structs.replace(stranger.entry(REMOVED, cids=cids), space=alice.shared.space)
    log = read(
        alice,
        chained(
            *(
                (entry, author.person, alice.shared.keys)
                for author, entry in (
                    (bob, bob.entry(REMOVED, cids=cids)),
                    (bob, bob.entry(EPOCH, epoch=2, keys=keys)),
                    (bob, borrowed),
                    (reader, reader.letting_in(carol)),
                    (stranger, foreign),
                    (bob, msgspec.structs.replace(alice.entry(REMOVED, cids=cids))),
                    (alice, alice.entry("other")),
                    (alice, alice.entry(EPOCH, epoch=1, keys=keys)),
                    (alice, msgspec.structs.replace(alice.letting_in(bob), ucan=stranger.shared.ucan)),
                )
            )
        ),
    )
    assert log.passed_over == 9
    assert (list(log.members), log.revoked, log.epochs, log.keys) == ([alice.person.did], set(), {}, {})


def test_a_log_whose_hashes_do_not_chain_is_refused(family: tuple[Member, Member, Member]) -> None:
    alice, bob, _ = family
    entries = written(*((alice, alice.letting_in(bob)) for _ in range(3)))
    replace = msgspec.structs.replace
    for broken in (
        entries[1:],
        [entries[0], entries[2]],
        [entries[1], entries[0]],
        [replace(entries[0], payload=entries[1].payload)],
        [replace(entries[0], prev_hash=bytes(32))],
    ):
        with pytest.raises(FolderError, match="tampered"):
            read(alice, broken)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_altered_entry_counts(family: tuple[Member, Member, Member], data: st.DataObject) -> None:
    alice, bob, _ = family
    payload = bytearray(seal_entry(alice.letting_in(bob), alice.person, alice.shared.keys))
    place = data.draw(st.integers(min_value=0, max_value=len(payload) - 1))
    payload[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    cut = bytes(payload[: data.draw(st.integers(min_value=0, max_value=len(payload)))])
    for altered in (bytes(payload), cut):
        assert open_entry(altered, alice.shared.space, alice.shared.keys) is None
        assert read(alice, chained_payloads(altered)).passed_over == 1


def test_nothing_of_an_entry_is_readable_without_a_key(family: tuple[Member, Member, Member]) -> None:
    alice, bob, _ = family
    entry = alice.letting_in(bob)
    payload = seal_entry(entry, alice.person, alice.shared.keys)
    assert bob.person.did.encode() not in payload
    assert open_entry(payload, alice.shared.space, alice.shared.keys) == entry
    assert open_entry(payload, alice.shared.space, {1: bytes(32)}) is None
    assert open_entry(payload, alice.shared.space, {2: alice.shared.keys[1]}) is None
    forged = seal_entry(entry, new_person(), alice.shared.keys)
    assert open_entry(forged, alice.shared.space, alice.shared.keys) is None
    assert bob.shared.ucan not in repr(entry)
