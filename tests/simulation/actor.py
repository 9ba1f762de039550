"""A client: one device of a person that connects, asks, listens, hangs up and comes back.

It is driven by what reaches it and by outside events, never by tasks: its moves must not stand in the queue
of the server's callbacks.
"""

import base64
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from uuid import UUID

import cbor2

from tests.simulation.cast import OWNER, SHARED, Person
from tests.simulation.exchanges import Asked as AskedOfFile
from tests.simulation.frames import PONG, Closing, Control, Frame, closing, message
from tests.simulation.line import Line, Pace, Schedule
from tests.simulation.system import BlobKey, Notification, Response, encode_request
from tests.simulation.tables import Tables
from tests.simulation.witness import Asked, Witness

Params = dict[str, Any]  # of any method
BIG_BYTES: Final = 70 * 1024
"""A blob that a pull does not send along with the others."""
HEAVY_BYTES: Final = 1100 * 1024
"""A blob whose push goes on a connection beside the lanes."""


@dataclass(frozen=True, slots=True)
class Temper:
    """What sort of client one is."""

    pace: Pace
    at_once: int = 1
    """Requests under way together."""
    think_s: float = 0.0
    """The longest pause before the next request; 0: it follows the answer at once."""
    drop: float = 0.0
    """How often it hangs up right after asking for a change."""
    drop_s: float = 0.007
    """How soon after."""
    answers_close: float = 0.8
    requests_max: int = 20
    big: float = 0.0
    heavy: float = 0.0
    """How often a blob has `BIG_BYTES`, or `HEAVY_BYTES`."""


class Stage(Protocol):
    """What an actor is given by the world around it."""

    tables: Tables
    people: dict[str, Person]
    weights: dict[str, int]

    def open_line(self, actor: "Actor") -> tuple[Line, Witness] | None:
        """Connect; None when the server takes nobody any more."""

    def exchange(self, asked: AskedOfFile, *, pause_s: float, hang_up_s: float | None) -> None:
        """Ask something about a file, over HTTP."""

    def next_upload(self) -> bytes:
        """What the next upload is to be known by: 16 bytes."""

    @property
    def comes_back(self) -> bool:
        """Whether a server that lets nobody in will do so again."""

    @property
    def playing(self) -> bool:
        """Whether actors still ask for things of their own accord."""


class Actor:
    """One device."""

    def __init__(
        self, stage: Stage, name: str, temper: Temper, chance: random.Random, schedule: Schedule
    ) -> None:
        self.stage = stage
        self.person = stage.people[name]
        self.temper = temper
        self._chance = chance
        self._schedule = schedule
        self._line: Line | None = None
        self._witness: Witness | None = None
        self._left = temper.requests_max
        self._asked = 0
        self._grant = 0
        self._again = ""
        self._thinking = False
        self._records: dict[str, dict[str, int]] = {}
        self._closing = False

    @property
    def asked(self) -> int:
        """How many requests it has made."""
        return self._asked

    # The connection.

    def connect(self) -> None:
        """Open a connection, authenticate and subscribe at once."""
        opened = self.stage.open_line(self)
        if opened is None:
            if self.stage.playing and self.stage.comes_back:
                self._schedule(self._chance.random() * 0.5, "reconnect", self._reconnect)
            return
        self._line, self._witness = opened
        self._closing = False
        self._again = ""
        self._send(cbor2.dumps({"type": 2, "method": "auth", "params": self._shown()}))
        if self._chance.random() < 0.9:
            self._subscribe()
        self._go_on()

    def _shown(self) -> dict[str, object]:
        proof = {"did_proof": self.person.did_proof} if self.person.did_proof else {}
        return {"token": self.person.token, **proof}

    def received(self, frame: Frame) -> None:
        """A frame was read."""
        if isinstance(frame, Control):
            if frame.kind == "ping":
                self._raw(PONG)
        elif isinstance(frame, Closing):
            self._closing = True
            if not self.stage.playing or self._chance.random() < self.temper.answers_close:
                self._raw(closing(frame.code))
        elif isinstance(frame, Response):
            self._go_on()
        elif isinstance(frame, Notification):
            self._heard(frame.method, frame.params)

    def ended(self) -> None:
        """The connection is gone; come back after a while."""
        self._line = self._witness = None
        if self.stage.playing:
            self._schedule(self._chance.random() * 0.5, "reconnect", self._reconnect)

    def _reconnect(self) -> None:
        if self._line is None and self.stage.playing:
            self.connect()

    def hang_up(self, delay_s: float = 0.0) -> None:
        """Break the connection."""
        if self._line is not None:
            self._line.hang_up(delay_s)

    def calm(self) -> None:
        """Read as fast as can be from now on."""
        if self._line is not None:
            self._line.pace = replace(self._line.pace, read_s=0.0, read_bytes=1 << 20)

    def _raw(self, data: bytes) -> None:
        if self._line is not None and self._witness is not None and not self._line.lost:
            self._witness.sent += len(data)
            self._line.send(data)

    def _send(self, payload: bytes) -> None:
        self._raw(message(payload))

    # What it asks for.

    def _go_on(self) -> None:
        """Ask for more, if there is room and something left to do."""
        temper = self.temper
        while (
            self.stage.playing
            and self._left > 0
            and self._witness is not None
            and not self._closing
            and not self._thinking
            and self._witness.unanswered < temper.at_once
        ):
            if temper.think_s:
                self._thinking = True
                self._schedule(self._chance.random() * temper.think_s, "think", self._thought)
                return
            self.act()

    def _thought(self) -> None:
        self._thinking = False
        if self._witness is not None and not self._closing and self.stage.playing:
            self.act()
            self._go_on()

    def act(self) -> None:
        """Do one thing."""
        self._left -= 1
        name = self._again
        if name and self._chance.random() < 0.6:
            ACTIONS[name](self)
            return
        weights = self.stage.weights
        name = self._chance.choices(list(weights), list(weights.values()))[0]
        self._again = name if name in REPEATED else ""
        ACTIONS[name](self)

    def ask(self, method: str, params: Params, *, spaces: tuple[str, ...] = (), cid: str = "") -> None:
        """Send a request; a change may be followed by hanging up."""
        witness = self._witness
        if witness is None:
            return
        self._asked += 1
        id = f"r{self._asked}"
        data = message(encode_request(id, method, params))
        about = {space: self._cid() if space == str(SHARED) else "" for space in spaces}
        witness.ask(Asked(id, method, witness.sent + len(data), self.mark(), about, cid))
        self._raw(data)
        if method in CHANGES and self.stage.playing and self._chance.random() < self.temper.drop:
            self.hang_up(self._chance.random() * self.temper.drop_s)

    def tell(self, method: str, params: Params) -> None:
        """Send a notification."""
        self._send(cbor2.dumps({"type": 2, "method": method, "params": params}))

    def mark(self) -> bytes:
        """What the next change is to be known by: 16 bytes."""
        number = 0 if self._witness is None else self._witness.number
        return b"c" + number.to_bytes(4, "big") + self._asked.to_bytes(4, "big") + bytes(7)

    def _next_mark(self) -> bytes:
        self._asked += 1
        mark = self.mark()
        self._asked -= 1
        return mark

    def _cid(self) -> str:
        return self._granted()[1]

    def _granted(self) -> tuple[str, str]:
        return self.person.grants[min(self._grant, len(self.person.grants) - 1)]

    def _space(self) -> tuple[str, str]:
        """One of the two spaces it knows, with the UCAN it needs."""
        if self._chance.random() < 0.7:
            return str(SHARED), self._granted()[0]
        return str(self.person.space), ""

    def _wanted(self) -> list[Params]:
        """What to subscribe to."""
        entries: list[Params] = [
            {"id": str(SHARED), "since": 0, "ucan": self._granted()[0], "presence": True},
            {"id": str(self.person.space), "since": 0},
        ]
        if self._chance.random() < 0.2:
            entries.pop()
        return entries

    def _subscribe(self) -> None:
        entries = self._wanted()
        self.ask("subscribe", {"spaces": entries}, spaces=tuple(str(entry["id"]) for entry in entries))

    def _unsubscribe(self) -> None:
        space, _ = self._space()
        if self._witness is not None:
            self._witness.left(space)
        self.tell("unsubscribe", {"spaces": [space]})
        self._subscribe()

    def _push(self) -> None:
        space, ucan = self._space()
        self.push(space, ucan)

    def push(self, space: str, ucan: str) -> None:
        """Write one to three records, new ones or known ones."""
        chance, known = self._chance, self._records.setdefault(space, {})
        row = self.stage.tables.spaces.get(UUID(space))
        epoch = (row.key_generation if row else 1).to_bytes(4, "big")
        dek = epoch + self._next_mark() + bytes(24)
        changes: list[Params] = []
        used: set[str] = set()
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            old = chance.choice(list(known)) if known and chance.random() < 0.4 else ""
            id = old if old and old not in used else str(UUID(int=chance.getrandbits(128), version=4))
            used.add(id)
            change: Params = {
                "id": id,
                "blob": bytes(self._blob_bytes()),
                "expected_cursor": known.get(id, 0),
                "dek": dek,
            }
            if id in known and chance.random() < 0.2:
                del change["blob"]
            changes.append(change)
        self.ask("push", {"space": space, "ucan": ucan, "changes": changes}, spaces=(space,))

    def _blob_bytes(self) -> int:
        if self._chance.random() < self.temper.big:
            return BIG_BYTES
        return HEAVY_BYTES if self._chance.random() < self.temper.heavy else 30

    def _pull(self) -> None:
        spaces = [self._space() for _ in range(self._chance.choice((1, 1, 2)))]
        since = self._chance.choice((0, 0, 1, 3))
        entries = [{"id": space, "since": since, "ucan": ucan} for space, ucan in dict(spaces).items()]
        self.ask("pull", {"spaces": entries}, spaces=tuple(str(entry["id"]) for entry in entries))

    def _deks(self) -> None:
        space, ucan = self._space()
        method = self._chance.choice(("deks.get", "deks.getFiles", "file.deks.get"))
        self.ask(method, {"space": space, "ucan": ucan, "since": 0}, spaces=(space,))

    def _append(self) -> None:
        space, ucan = self._space()
        log = self.stage.tables.members.get(UUID(space), ())
        payload = self._next_mark()
        self.ask(
            "membership.append",
            {
                "space": space,
                "ucan": ucan,
                "expected_version": len(log),
                "prev_hash": log[-1].entry_hash if log else b"",
                "entry_hash": hashlib.sha256(payload).digest(),
                "payload": payload,
            },
            spaces=(space,),
        )

    def _members(self) -> None:
        space, ucan = self._space()
        self.ask("membership.list", {"space": space, "ucan": ucan}, spaces=(space,))

    def _revoke(self) -> None:
        if self.person.name != OWNER:
            self._push()
            return
        tables = self.stage.tables
        guests = [person for person in self.stage.people.values() if person.name != OWNER]
        guest = self._chance.choice(guests)
        left = [cid for _, cid in guest.grants if (SHARED, cid) not in tables.revoked]
        if len(left) < 2:
            return
        params = {"space": str(SHARED), "ucan": self._granted()[0], "ucan_cid": left[0]}
        self.ask("membership.revoke", params, spaces=(str(SHARED),), cid=left[0])

    def _invite(self) -> None:
        guest = self._chance.choice(list(self.stage.people.values()))
        params = {"mailbox_id": guest.mailbox, "payload": self._next_mark().hex()}
        self.ask("invitation.create", params)

    def _invitations(self) -> None:
        self.ask("invitation.list", {})

    def _presence(self) -> None:
        space, _ = self._space()
        name = self._chance.choice(("presence.set", "presence.set", "event.send", "presence.clear"))
        self.tell(name, {"space": space, "data": b"here"} if name != "presence.clear" else {"space": space})
        self.ask("?", {})

    def _refresh(self) -> None:
        self.ask("token.refresh", self._shown())

    def _epoch(self) -> None:
        space = str(self.person.space)
        row = self.stage.tables.spaces.get(self.person.space)
        epoch = row.key_generation if row else 1
        if row is not None and row.rewrap_epoch is not None:
            self.ask("epoch.complete", {"space": space, "epoch": row.rewrap_epoch}, spaces=(space,))
        else:
            self.ask("epoch.begin", {"space": space, "epoch": epoch + 1}, spaces=(space,))

    def _rewrap(self) -> None:
        tables, space = self.stage.tables, self.person.space
        row = tables.spaces.get(space)
        known = [id for id, record in tables.records.items() if record.space == space][:3]
        epoch = (row.key_generation if row else 1).to_bytes(4, "big")
        entries = [{"id": str(id), "dek": epoch + bytes(40)} for id in known]
        self.ask("deks.rewrap", {"space": str(space), "deks": entries}, spaces=(str(space),))

    def _uninvite(self) -> None:
        tables = self.stage.tables
        mine = [row.id for row in tables.invitations.values() if row.mailbox == self.person.mailbox]
        id = self._chance.choice(mine) if mine else UUID(int=0)
        self.ask(self._chance.choice(("invitation.get", "invitation.delete")), {"id": str(id)})

    def _unknown(self) -> None:
        self.ask("?", {})

    # Files.

    def _upload(self) -> None:
        """Put one of three files of a space, bound to a record that may be deleted at any moment."""
        found = self._file_asked("PUT")
        if found is None:
            return
        mark = self.stage.next_upload()
        row = self.stage.tables.spaces[found.key.space]
        dek = row.key_generation.to_bytes(4, "big") + mark + bytes(24)
        found.mark, found.body = mark, mark + bytes(self._chance.choice((0, 10, 400)))
        found.headers["x-wrapped-dek"] = base64.b64encode(dek).decode()
        self._exchange(found)

    def _download(self) -> None:
        found = self._file_asked("GET")
        if found is not None:
            self._exchange(found)

    def _discard(self) -> None:
        """Delete a record that has a file."""
        space, ucan = self._space()
        tables, id = self.stage.tables, UUID(space)
        bound = [row.record for (at, _), row in tables.files.items() if at == id]
        if not bound:
            return
        record = self._chance.choice(bound)
        change = {"id": str(record), "expected_cursor": tables.records[record].cursor}
        self.ask("push", {"space": space, "ucan": ucan, "changes": [change]}, spaces=(space,))
        self._upload()

    def _file_asked(self, method: str) -> AskedOfFile | None:
        space, ucan = self._space()
        id, chance = UUID(space), self._chance
        live = [key for key, r in self.stage.tables.records.items() if r.space == id and r.blob is not None]
        if not live:
            return None
        file = UUID(int=id.int ^ chance.randrange(3))
        granted = self._granted() if ucan else ("", "")
        return AskedOfFile(method, self.person, BlobKey(id, file), chance.choice(live[-4:]), granted)

    def _exchange(self, asked: AskedOfFile) -> None:
        chance, temper = self._chance, self.temper
        drops = self.stage.playing and chance.random() < temper.drop
        self.stage.exchange(
            asked,
            pause_s=chance.choice((0.0, 0.001, 0.2)),
            hang_up_s=chance.random() * temper.drop_s * 4 if drops else None,
        )

    # What it hears.

    def _heard(self, method: str, params: Any) -> None:
        space = params.get("space", "")
        if method == "sync":
            known = self._records.setdefault(space, {})
            for record in params["records"]:
                known[record["id"]] = record["cursor"]
        elif method == "revoked" and self._revoked_now():
            self._grant += 1
            if self.stage.playing and self._grant < len(self.person.grants):
                self._schedule(self._chance.random() * 0.2, "resubscribe", self._resubscribe)

    def _revoked_now(self) -> bool:
        return (SHARED, self._cid()) in self.stage.tables.revoked and self._grant + 1 < len(
            self.person.grants
        )

    def _resubscribe(self) -> None:
        if self.stage.playing and self._witness is not None and not self._closing:
            self._subscribe()


ACTIONS: Final[dict[str, Callable[[Actor], None]]] = {
    "push": Actor._push,
    "pull": Actor._pull,
    "deks": Actor._deks,
    "append": Actor._append,
    "members": Actor._members,
    "revoke": Actor._revoke,
    "invite": Actor._invite,
    "invitations": Actor._invitations,
    "presence": Actor._presence,
    "refresh": Actor._refresh,
    "epoch": Actor._epoch,
    "resubscribe": Actor._subscribe,
    "unsubscribe": Actor._unsubscribe,
    "rewrap": Actor._rewrap,
    "uninvite": Actor._uninvite,
    "unknown": Actor._unknown,
    "upload": Actor._upload,
    "download": Actor._download,
    "discard": Actor._discard,
}
REPEATED: Final = frozenset({"pull", "deks", "push", "upload"})
"""What is done several times in a row."""
CHANGES: Final = frozenset({"push", "membership.append", "membership.revoke", "invitation.create"})
