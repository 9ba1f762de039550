"""What a peer announces on a connection that it opened: passed on only if it is the peer's to say.

Otherwise any server that is let in could forge tombstones, move cursors and revoke in any space.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from less_sync.auth import parse_uuid
from less_sync.federation.inbound.homes import Home, Homes
from less_sync.federation.inbound.peers import domain_of
from less_sync.federation.relayed import RELAYED, RelayedNotice, relay
from less_sync.federation.settings import NoticesFrom
from less_sync.storage import StorageError
from less_sync.sync.call import Call
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.messages import decode_params
from less_sync.sync.rpc.dispatch import Notice, Work, log_storage_fault

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Said:
    """One notification, decoded."""

    call: Call
    method: str
    space: UUID
    notice: RelayedNotice


class NoticeGate:
    """Says whose word is believed, and passes on what is."""

    def __init__(self, notices_from: NoticesFrom, homes: Homes) -> None:
        self._from = notices_from
        self._homes = homes

    def row(self, method: str) -> Notice:
        """The row of one of `RELAYED` in the table of notifications."""
        kind = RELAYED[method]

        def decode(raw: object, limits: Limits) -> RelayedNotice:
            return decode_params(kind, raw)

        def run(call: Call, raw: object) -> Work | None:
            try:
                notice = decode(raw, call.services.limits)
            except ParamsError:
                return None
            space = parse_uuid(notice.space)
            return None if space is None else self._hear(_Said(call, method, space, notice))

        return Notice(method, f"from_{self._from}", decode, run)

    def _hear(self, said: _Said) -> Work | None:
        if self._from is NoticesFrom.HOME:
            home = self._homes.known(said.space)
            if home is Home.UNREAD:
                return self._once_read(said)
            self._judge(said, home)
        elif self._from is NoticesFrom.SUBSCRIBED:
            call = said.call
            self._pass_on(said, allowed=call.services.broker.is_subscribed(call.outbound, said.space))
        else:
            self._pass_on(said, allowed=False)
        return None

    def _once_read(self, said: _Said) -> Work:
        async def work() -> None:
            try:
                home = await self._homes.read(said.space)
            except StorageError as error:
                log_storage_fault(said.method, error)
            else:
                self._judge(said, home)

        return work

    def _judge(self, said: _Said, home: str | Home) -> None:
        if home is not Home.NO_SPACE:  # of what is not here nobody hears, and there are many such ids
            self._pass_on(said, allowed=home == domain_of(said.call.identity))

    def _pass_on(self, said: _Said, *, allowed: bool) -> None:
        call, services = said.call, said.call.services
        if allowed:
            relay(
                services.announce,
                services.broker,
                said.space,
                said.method,
                said.notice,
                frame_bytes_max=services.limits.outbound_frame_bytes,
            )
        elif call.caller.warn_once(said.space):
            _log.warning(
                "notification of a peer dropped",
                peer=domain_of(call.identity),
                method=said.method,
                space=str(said.space),
            )
