"""People on different servers in one space: what a bundle says of its home, and how our own server learns it.

A space lives at its home. Any other server that trusts the home, and is trusted by it, passes on what its own
users read and write there, once it has been told by one of them that there is such a space.
"""

import dataclasses
from urllib.parse import urlsplit

from less_sync.auth import parse_chain
from less_sync.client.folder.access import server_url
from less_sync.client.folder.errors import FolderError
from less_sync.client.sharing.bundle import Bundle
from less_sync.client.sharing.domains import domain_of
from less_sync.client.sharing.session import Options
from less_sync.sync.client import RequestFailed, SubscribeSpace, SyncClient
from less_sync.sync.protocol.codes import ErrorCode

_NOT_SHOWN = (ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND)


def own_domain(options: Options) -> str:
    """The domain of the server we use, taken from its address, without a port: trust goes by hosts.

    Raises:
        UsageProblem: the address is none, or names no domain.
    """
    host = urlsplit(server_url(options.server)).hostname or ""
    return domain_of(host, "--server")


def with_home(bundle: Bundle, home: str | None) -> Bundle:
    """The same bundle, with another home if one is given (`--home`).

    Raises:
        UsageProblem: that is no domain.
    """
    return bundle if home is None else dataclasses.replace(bundle, home=domain_of(home, "--home"))


async def make_known(client: SyncClient, bundle: Bundle) -> None:
    """Let our server know the space of a bundle that says where its home is, unless it does already.

    The root key is that of the bundle's chain. If our server knows the space under another one, it refuses us
    as it does anybody whose chain is not from there.

    Raises:
        FolderError: our server takes no spaces from there. Nothing was changed here.
        SyncClientError: see `SyncClient.subscribe` and `SyncClient.space_create`.
    """
    space = str(bundle.space)
    if not bundle.home or await _shown(client, space, bundle.ucan):
        return
    root = parse_chain(bundle.ucan).links[-1].issuer_key
    try:
        made = await client.space_create(space, root, home_server=bundle.home)
    except RequestFailed as error:
        if error.code == ErrorCode.CONFLICT:
            return  # it is known, so being refused has other reasons: the pull tells
        if error.code != ErrorCode.BAD_REQUEST:
            raise
        raise FolderError(
            f"your server takes no spaces from {bundle.home}: {error.message}",
            "its operator can trust that server; if it knows it by another name, --home says so",
        ) from error
    if not made.home_server:
        raise FolderError(
            f"your server made an empty space of this id instead of using that at {bundle.home}:"
            " it knows nothing of other servers, or goes by that name itself",
            "nothing was joined; tell its operator, who can remove the empty space",
        )


async def _shown(client: SyncClient, space: str, ucan: str) -> bool:
    """Whether our server knows the space, as far as it says so: other trouble may pass."""
    result = await client.subscribe([SubscribeSpace(id=space, since=0, ucan=ucan)])
    return not any(refused.error in _NOT_SHOWN for refused in result.errors)
