"""What a peer announces on a connection that it opened: passed on only if it is the peer's to say.

Otherwise any server that is let in could forge tombstones, move cursors and revoke in any space.
"""

from typing import Final

import structlog

from less_sync.federation.inbound.homes import Home, Homes
from less_sync.federation.inbound.peers import domain_of
from less_sync.federation.outbound.relay import KINDS, News, read_news
from less_sync.federation.settings import NoticesFrom
from less_sync.storage import StorageError
from less_sync.sync.call import Call
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.frames import Notification
from less_sync.sync.protocol.messages import Message, decode_params
from less_sync.sync.rpc.dispatch import Notice, Work, log_storage_fault

_log: Final = structlog.get_logger(__name__)


class NoticeGate:
    """Says whose word is believed, and passes on what is."""

    def __init__(self, notices_from: NoticesFrom, homes: Homes) -> None:
        self._from = notices_from
        self._homes = homes

    def row(self, method: str) -> Notice:
        """The row of one of `relay.KINDS` in the table of notifications."""

        def decode(raw: object, limits: Limits) -> Message:
            return decode_params(KINDS[method], raw)

        def run(call: Call, raw: object) -> Work | None:
            frame_bytes_max = call.services.limits.outbound_frame_bytes
            news = read_news(Notification(method, raw), frame_bytes_max=frame_bytes_max)
            return None if news is None else self._hear(call, news)

        return Notice(method, f"from_{self._from}", decode, run)

    def _hear(self, call: Call, news: News) -> Work | None:
        if self._from is NoticesFrom.HOME:
            home = self._homes.known(news.space)
            if home is Home.UNREAD:
                return lambda: self._once_read(call, news)
            self._judge(call, news, home)
        elif self._from is NoticesFrom.SUBSCRIBED:
            subscribed = call.services.broker.is_subscribed(call.outbound, news.space)
            self._pass_on(call, news, allowed=subscribed)
        else:
            self._pass_on(call, news, allowed=False)
        return None

    async def _once_read(self, call: Call, news: News) -> None:
        try:
            home = await self._homes.read(news.space)
        except StorageError as error:
            log_storage_fault(news.method, error)
        else:
            self._judge(call, news, home)

    def _judge(self, call: Call, news: News, home: str | Home) -> None:
        if home is not Home.NO_SPACE:  # of what is not here nobody hears, and there are many such ids
            self._pass_on(call, news, allowed=home == domain_of(call.identity))

    def _pass_on(self, call: Call, news: News, *, allowed: bool) -> None:
        if allowed:
            call.services.announce.relay(news.space, news.change)
        elif call.caller.warn_once(news.space):
            _log.warning(
                "notification of a peer dropped",
                peer=domain_of(call.identity),
                method=news.method,
                space=str(news.space),
            )
