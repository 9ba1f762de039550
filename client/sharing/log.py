"""The membership log of a shared space as its members read it: who is in, what was revoked, whose keys count.

An entry counts if

- its signature is right, and it stands where its author put it: it signs a digest of the whole log before it,
  so nobody can add, move or drop a row under it. Entries of version 1 do not; they count until the first
  entry that does;
- the UCAN its author shows allows it (`member` wants write, `removed` and `epoch` want admin), no link of it
  was revoked by an entry before, and none had expired at the latest time that a counted entry of somebody
  who is still in had given until then. So an entry that is dated back gains nothing. One dated ahead counts
  no longer than its own proof lasts, so those whom that proof was made from can undo it: with its author,
  its time is out.

The reader's clock decides nothing, so all who read the same log come to the same end, today or next year.

Of several `epoch` entries for one epoch the first counts; later ones by the same key only add people to it.
A `removed` entry voids the entries, of epochs that had not begun, whose authors' proofs are revoked: then the
next one counts. Which epochs had begun is what the `removed` entry says and, so that it cannot take away keys
in use, what the entries of administrators who are still in show: the epoch of their removals, and one less
than that of the keys they handed out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from less_sync.auth import AuthError, Permission, UcanCache, UcanChain, check_chain, parse_chain
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.shared import LogPlace, SharedSpace
from less_sync.client.sharing.entries import (
    EPOCH,
    MEMBER,
    PLACED,
    REMOVED,
    Entry,
    next_digest,
    open_entry,
    opened_key,
)
from less_sync.client.sharing.person import Person
from less_sync.sync.protocol.messages import MemberEntry


@dataclass(frozen=True, slots=True)
class Token:
    """A UCAN by which somebody is in: `chain` are the CIDs of all its links."""

    cid: str = field(repr=False)
    chain: frozenset[str] = field(repr=False)
    permission: Permission
    expires_at: int


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who was let in, perhaps with several tokens."""

    did: str = field(repr=False)
    tokens: tuple[Token, ...]

    @property
    def permission(self) -> Permission:
        """The most any of their tokens grants."""
        return max(token.permission for token in self.tokens)

    @property
    def expires_at(self) -> int:
        """When the last of their tokens ends, in Unix seconds."""
        return max(token.expires_at for token in self.tokens)

    @property
    def cids(self) -> tuple[str, ...]:
        """What to revoke to remove them."""
        return tuple(token.cid for token in self.tokens)


@dataclass(slots=True)
class MemberLog:
    """What the log says, read from its beginning."""

    epoch: int = 1
    """The space's, by the server, when the log was read."""
    begun: int = 1
    """The highest epoch that administrators who are in show to have begun."""
    version: int = 0
    """What the next append must expect."""
    last_hash: bytes = b""
    place: LogPlace = field(default_factory=LogPlace)
    members: dict[str, Member] = field(default_factory=dict, repr=False)
    gone: set[str] = field(default_factory=set, repr=False)
    """DIDs whose tokens are all revoked."""
    revoked: set[str] = field(default_factory=set, repr=False)
    shown: dict[str, set[str]] = field(default_factory=dict, repr=False)
    """CIDs of the UCANs that authors showed, by DID: perhaps others than they were let in with."""
    epochs: dict[int, Entry] = field(default_factory=dict, repr=False)
    keys: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Keys found in it that are for us."""
    passed_over: int = 0

    def is_spent(self, entry: Entry, now_s: float) -> bool:
        """Whether the author of an entry of this log could not write it now."""
        chain = parse_chain(entry.proof)
        return bool(self.revoked & set(chain.cids)) or (chain.leaf.expires_at or 0) < now_s


@dataclass(frozen=True, slots=True)
class _Word:
    """What a counted entry says of the time, and which epoch had begun; good until its author is out."""

    chain: frozenset[str]
    at: int
    begun: int


class Reader:
    """Reads entries in order, learning on the way the keys that open the later ones."""

    def __init__(self, shared: SharedSpace, person: Person) -> None:
        self._space = shared.space
        self._person = person
        self._keys = shared.keys
        self._read_before = shared.log
        self._cache = UcanCache()
        own = parse_chain(shared.ucan, parse=self._cache.parse)
        self._root = own.links[-1].issuer_key
        self._placed = False
        self._clock_s = 0
        self._words: list[_Word] = []
        # Of epochs that were voided too: what was written under them is still to be opened.
        self._found: dict[int, bytes] = {}
        self.log = MemberLog()
        # The creator was let in by the root key itself, before there was a log.
        self._let_in(UcanChain(own.links[-1:]))

    def read(self, entries: Sequence[MemberEntry], version: int) -> MemberLog:
        """Take in the whole log.

        Raises:
            FolderError: its hashes do not chain, or it does not continue what this folder has read before:
                the server, or somebody on the way, changed it.
        """
        log, before = self.log, self._read_before
        for number, one in enumerate(entries, 1):
            broken = one.chain_seq != number or one.prev_hash != log.last_hash
            if broken or hashlib.sha256(one.payload).digest() != one.entry_hash:
                raise FolderError(
                    "the membership log of the space was tampered with: its hashes do not match"
                )
            log.last_hash = one.entry_hash
            entry = open_entry(one.payload, self._space, self._keys)
            entry = entry or open_entry(one.payload, self._space, self._found)
            if entry is None or not self._take(entry):
                log.passed_over += 1
            log.place = LogPlace(number, next_digest(log.place.digest, one.entry_hash))
            if number == before.entries and log.place != before:
                raise _not_continued("another membership log")
        if log.place.entries < before.entries:
            raise _not_continued(f"a membership log of {log.place.entries} entries")
        log.begun = self._begun()
        log.version = version
        return log

    def counts(self, entry: Entry) -> bool:
        """Whether an entry would count, were it the next one."""
        return self._author(entry) is not None

    def _take(self, entry: Entry) -> bool:
        """Apply an entry if it counts."""
        chain = self._author(entry)
        if chain is None or not self._apply(entry):
            return False
        self.log.shown.setdefault(entry.author, set()).add(chain.leaf.cid)
        begun = {REMOVED: entry.epoch, EPOCH: entry.epoch - 1}.get(entry.kind, 0)
        at_s = 0
        if entry.v == PLACED:
            self._placed, at_s = True, entry.at
        self._words.append(_Word(frozenset(chain.cids), at_s, begun))
        if entry.kind == REMOVED:
            self._clock_s = max((one.at for one in self._good_words()), default=0)
        else:
            self._clock_s = max(self._clock_s, at_s)
        return True

    def _good_words(self) -> Iterator[_Word]:
        return (one for one in self._words if not one.chain & self.log.revoked)

    def _author(self, entry: Entry) -> UcanChain | None:
        """By what the author may write this entry here; None when they may not."""
        in_place = entry.after == self.log.place.digest.hex() if entry.v == PLACED else not self._placed
        if not in_place or entry.space != self._space:
            return None
        needed = Permission.WRITE if entry.kind == MEMBER else Permission.ADMIN
        return self._granted(entry.proof, entry.author, needed, self._time_of(entry))

    def _time_of(self, entry: Entry) -> int:
        return max(entry.at, self._clock_s) if entry.v == PLACED else entry.at

    def _apply(self, entry: Entry) -> bool:
        if entry.kind == MEMBER:
            chain = self._granted(entry.ucan, None, Permission.READ, self._time_of(entry))
            if chain is not None:
                self._let_in(chain)
            return chain is not None
        if entry.kind == REMOVED:
            self._revoke(entry.cids)
            if entry.v == PLACED:
                self._void(entry.epoch)
            return True
        if entry.kind == EPOCH and entry.epoch > 1:
            self._epoch(entry)
            return True
        return False

    def _epoch(self, entry: Entry) -> None:
        former = self.log.epochs.get(entry.epoch)
        if former is None:
            self.log.epochs[entry.epoch] = entry
        elif former.v == entry.v == PLACED and former.check == entry.check:
            more = msgspec.structs.replace(former, keys={**entry.keys, **former.keys})
            self.log.epochs[entry.epoch] = more
        else:
            return
        key = opened_key(entry, self._person)
        if key is not None:
            self.log.keys[entry.epoch] = self._found[entry.epoch] = key

    def _void(self, begun: int) -> None:
        """Take back entries, of epochs above `begun` and what others show to have begun, of who is out."""
        begun = max(begun, self._begun())
        for epoch, entry in list(self.log.epochs.items()):
            proof = parse_chain(entry.proof, parse=self._cache.parse)
            if epoch > begun and self.log.revoked & set(proof.cids):
                del self.log.epochs[epoch]
                self.log.keys.pop(epoch, None)

    def _begun(self) -> int:
        return max([1, *(one.begun for one in self._good_words())])

    def _granted(self, ucan: str, audience: str | None, needed: Permission, at_s: int) -> UcanChain | None:
        try:
            chain = parse_chain(ucan, parse=self._cache.parse)
            check_chain(
                chain,
                audience=audience or chain.leaf.audience or "",
                needed=needed,
                space_id=self._space,
                root_public_key=self._root,
                revoked=self.log.revoked,
                now=at_s,
            )
        except AuthError:
            return None
        return chain

    def _let_in(self, chain: UcanChain) -> None:
        leaf = chain.leaf
        did = leaf.audience or ""
        token = Token(
            leaf.cid, frozenset(chain.cids), Permission.from_command(leaf.command), leaf.expires_at or 0
        )
        former = self.log.members.get(did)
        others = () if former is None else tuple(one for one in former.tokens if one.cid != leaf.cid)
        self.log.members[did] = Member(did, (*others, token))
        self.log.gone.discard(did)

    def _revoke(self, cids: Sequence[str]) -> None:
        self.log.revoked |= set(cids)
        for did, member in list(self.log.members.items()):
            left = tuple(token for token in member.tokens if not token.chain & self.log.revoked)
            if left:
                self.log.members[did] = Member(did, left)
            else:
                del self.log.members[did]
                self.log.gone.add(did)


def _not_continued(shown: str) -> FolderError:
    return FolderError(
        f"the server shows {shown} that does not continue the one this folder has read before",
        "it holds back or changed who is a member; if it was restored from a backup, ask a member for a"
        " bundle and `space join --force`",
    )
