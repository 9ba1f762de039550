"""`fleet webhook listen`: a receiver of webhooks on loopback, which believes none without a good signature.

By Standard Webhooks 1.0.0: the signature covers id, time and body; a time that is minutes away is an old
webhook sent again by somebody else.
"""

import hmac
import json as json_texts
import shlex
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

from less_sync.bins.commands.fleet_client import USAGE, FleetProblem, tell
from less_sync.bins.commands.serve import own_name
from less_sync.bins.errors import os_error_text
from less_sync.bins.installed import server_parts

HOST: Final = "127.0.0.1"
BODY_BYTES_MAX: Final = 64 * 1024
TOLERANCE_S: Final = 300
SILENCE_S_MAX: Final = 10
"""How long a sender may keep the one connection to itself that is served at a time."""
IDS_MAX: Final = 1_000
"""Events that are known again."""


class NotBelieved(Exception):
    """A request is no webhook of the plane; `str()` says why."""


@dataclass(slots=True)
class Receiver:
    """Verifies requests, and tells of each."""

    secret: bytes = field(repr=False)
    now_s: Callable[[], float] = time.time
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def received(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """What a good webhook tells: its id, whether it came before, and its members.

        Raises:
            NotBelieved: it is none.
        """
        event_id = self._verified(headers, body)
        try:
            told = json_texts.loads(body)
            event = {name: told[name] for name in ("type", "timestamp", "data")}
        except (ValueError, RecursionError, KeyError, TypeError):
            raise NotBelieved("the body is no event") from None
        again = event_id in self._seen
        self._seen[event_id] = None
        if len(self._seen) > IDS_MAX:
            self._seen.popitem(last=False)
        return {"id": event_id, "again": again, **event}

    def _verified(self, headers: Mapping[str, str], body: bytes) -> str:
        from less_sync.fleet.webhooks.signature import signed_headers

        event_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        given = headers.get("webhook-signature", "")
        if not (
            event_id.isascii() and event_id and at.isascii() and at.isdigit() and len(at) <= 12 and given
        ):
            raise NotBelieved("it is not signed")
        expected = dict(signed_headers(event_id, int(at), body, [self.secret]))["webhook-signature"]
        # Every signature is compared, whichever is good: while a secret is changed there are two.
        good = [hmac.compare_digest(one.encode(), expected.encode()) for one in given.split(" ")]
        if not any(good):
            raise NotBelieved("its signature is not of this secret")
        if abs(self.now_s() - int(at)) > TOLERANCE_S:
            raise NotBelieved(f"it is signed for another time than now, {at}")
        return event_id


def run(port: int, secret_text: str | None, *, count: int | None, as_json: bool) -> None:
    """Listen until interrupted, or until `count` good webhooks have come.

    Raises:
        FleetProblem: the secret is none, or the port cannot be had.
    """
    with server_parts("less-sync fleet webhook listen"):
        from less_sync.fleet.webhooks.signature import new_secret, parse_secret
        from less_sync.fleet.webhooks.signature import secret_text as text_of
    try:
        secret = new_secret() if secret_text is None else parse_secret(secret_text)
    except ValueError as error:
        raise FleetProblem(f"the secret {error}", USAGE) from None
    receiver = Receiver(secret)
    left = [count]

    def tell_good(event: Mapping[str, Any]) -> None:
        again = " (again)" if event["again"] else ""
        data = json_texts.dumps(event["data"])
        tell(as_json, event, f"{event['timestamp']}  {event['type']}{again}  {event['id']}  {data}")
        sys.stdout.flush()
        if left[0] is not None:
            left[0] -= 1

    try:
        server = HTTPServer((HOST, port), handler(receiver, tell_good))
    except OSError as error:
        raise FleetProblem(f"cannot listen on {HOST}:{port}: {os_error_text(error)}") from None
    with server:
        _tell_where(server.server_port, text_of(secret), told=secret_text is not None)
        while left[0] is None or left[0] > 0:
            server.handle_request()


def handler(
    receiver: Receiver, tell_good: Callable[[Mapping[str, Any]], None]
) -> type[BaseHTTPRequestHandler]:
    """What serves one connection: 204 for what is believed, 400 for what is not, 413 for too much."""

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENCE_S_MAX

        def do_POST(self) -> None:  # the name that the base class looks for
            length = self.headers.get("content-length", "")
            if not length.isascii() or not length.isdigit() or int(length[:20]) > BODY_BYTES_MAX:
                self._answer(413, f"no length, or more than {BODY_BYTES_MAX:,} bytes")
                return
            body = self.rfile.read(int(length))
            try:
                event = receiver.received({name.lower(): text for name, text in self.headers.items()}, body)
            except NotBelieved as not_believed:
                self._answer(400, str(not_believed))
                return
            tell_good(event)
            self._answer(204)

        def _answer(self, status: int, refused: str = "") -> None:
            if refused:
                print(f"refused: {refused}", file=sys.stderr, flush=True)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Nothing: what matters is told above."""

    return Handler


def _tell_where(port: int, secret: str, *, told: bool) -> None:
    """On standard error: standard output is the events."""
    url = f"http://{HOST}:{port}/"
    add = shlex.join([*own_name(), "fleet", "webhook", "add", url])
    variable = "" if told else f"LESS_SYNC_WEBHOOK_SECRET={secret} "
    print(f"listens on {url}; Ctrl-C ends it", file=sys.stderr)
    if not told:
        print(f"secret:  {secret}", file=sys.stderr)
    print(f"have a plane of this machine deliver here:  {variable}{add}", file=sys.stderr, flush=True)
