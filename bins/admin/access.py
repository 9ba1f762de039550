"""Who may ask the admin listener for what (docs/operations.md 12.1), and what is kept for it.

Any page in any browser on this machine can send requests to loopback, so loopback alone proves nothing about
who acts. What such a page cannot do is to know the token, to send it to another origin without being asked
first (there is no answer to that question here), or to use this server's own `Host`: a name that was made to
stand for 127.0.0.1 stays in `Host` as it is. Of pages only the console acts, whose `Origin` is that `Host`.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

from less_sync.bins.kept_secret import kept_private
from less_sync.bins.settings.parts import ListenAddress, is_admin_token
from less_sync.client.kept_key import KeyFileError, kept
from less_sync.sync.canary import NODE_BYTES

TOKEN_HEADER: Final = "x-admin-token"
TOKEN_FILE: Final = "admin-token"
NODE_FILE: Final = "node-id"

_TOKEN_BYTES: Final = 32
_HTTP_PORT: Final = 80
"""What a `Host` without a port means."""
_PORT: Final = re.compile(r":\d*\Z")
_OTHER_SITES: Final = frozenset({"cross-site", "same-site"})


class Refused(NamedTuple):
    """The answer to a request that may not be made."""

    status: int
    error: str


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one listener."""

    token: str = field(repr=False)
    reading_is_free: bool
    """No other machine can connect, so who reads under no foreign name needs no token."""
    name: str
    """How the operator calls it in `ADMIN_ADDR`; of addresses that of the connection counts."""

    def reading(self, headers: Mapping[str, str]) -> Refused | None:
        """Why metrics and states may not be read; None: they may.

        A page whose name was made to stand for 127.0.0.1 could see the answers. It cannot leave its name out
        of `Host`, which programs may, and no page gets a name to an address or to `localhost`. Pages of other
        sites see no answer, but could occupy all places of the consoles. Their links open what they lead to.
        """
        if headers.get("sec-fetch-site") in _OTHER_SITES and headers.get("sec-fetch-dest") != "document":
            return Refused(403, "pages of other sites may not read here")
        if self.reading_is_free and self._is_no_foreign_name(headers.get("host", "")):
            return None
        return self._without_token(headers)

    def acting(self, headers: Mapping[str, str], local: ListenAddress) -> Refused | None:
        """Why nothing may be changed; None: it may.

        Args:
            headers: of the request, names in lower case.
            local: where its connection arrived.
        """
        host = headers.get("host", "").lower()
        if host not in self._hosts(local):
            return Refused(403, "the Host of an action must be this listener's own address")
        own_page = headers.get("origin", "").lower() in ("", f"http://{host}")
        if not own_page or headers.get("sec-fetch-site") in _OTHER_SITES:
            return Refused(403, "pages of other sites may not act here")
        return self._without_token(headers)

    def _without_token(self, headers: Mapping[str, str]) -> Refused | None:
        shown = headers.get(TOKEN_HEADER, "")
        if hmac.compare_digest(shown.encode(), self.token.encode()):
            return None
        return Refused(401, "X-Admin-Token is missing or wrong")

    def _is_no_foreign_name(self, host: str) -> bool:
        name = _PORT.sub("", host).strip("[]").lower()
        return name in ("", "localhost", self.name.lower()) or _is_address(name)

    def _hosts(self, local: ListenAddress) -> set[str]:
        """The spellings of this listener's own address."""
        address = _unmapped(local.host)
        names = {str(ListenAddress(address, local.port))}
        if self.name and not _is_address(self.name):
            names.add(str(ListenAddress(self.name.lower(), local.port)))
        if ListenAddress(address, local.port).is_loopback:
            names.add(f"localhost:{local.port}")
        if local.port == _HTTP_PORT:
            names |= {name.removesuffix(f":{_HTTP_PORT}") for name in names}
        return names


class _Within(Access):
    """Of a worker's Unix socket, in a directory that nobody else may enter: who comes was let in before."""

    __slots__ = ()

    def reading(self, _headers: Mapping[str, str]) -> None:
        """Everything may be read."""

    def acting(self, _headers: Mapping[str, str], _local: ListenAddress) -> None:
        """Everything may be done."""


WITHIN: Final = _Within(token="", reading_is_free=True, name="")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _unmapped(host: str) -> str:
    """An IPv4 address as such, where a socket for both families shows it as one of IPv6."""
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def kept_token(data_dir: Path, *, user: int | None = None) -> str:
    """The token in `DATA_DIR/admin-token`, random and made there if there is none.

    Args:
        user: whom the file must belong to; by default who this process runs as.

    Raises:
        KeyFileError: it cannot be kept, others may read it, or it is no token.
    """
    path = data_dir / TOKEN_FILE
    text = kept_private(path, _new_token, setting="ADMIN_TOKEN", user=user)
    try:
        token = text.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not is_admin_token(token):
        raise KeyFileError(
            f"{path} does not hold a token of 16 to 256 printable ASCII characters; "
            "remove it to get a new one, or set ADMIN_TOKEN"
        )
    return token


def _new_token() -> bytes:
    return secrets.token_urlsafe(_TOKEN_BYTES).encode() + b"\n"


def kept_node_id(data_dir: Path) -> bytes:
    """This server's own id, `NODE_BYTES` long, in `DATA_DIR/node-id`: random and made there if there is none.

    Raises:
        KeyFileError: it cannot be kept, or is no such id.
    """
    path = data_dir / NODE_FILE
    text = kept(path, lambda: secrets.token_hex(NODE_BYTES).encode() + b"\n").strip()
    try:
        node = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        node = b""
    if len(node) != NODE_BYTES:
        raise KeyFileError(
            f"{path} does not hold {2 * NODE_BYTES} hexadecimal digits; remove it to get a new id"
        )
    return node
