"""Who we are to the server: as the token says, or as the server does where tokens do not say it.

The tokens of some issuers name no personal space, mailbox or DID: the server derives the first two and has
the DID proven (docs/tokens.md 11). Then it is asked, over a connection of its own, before anything else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.auth import parse_uuid
from less_sync.client.folder.access import TokenOptions
from less_sync.sync.client import RequestFailed, SyncClient, token_claim
from less_sync.sync.protocol.codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Who:
    """What is known of the person whose token this is; texts may be empty."""

    space: UUID | None = field(repr=False)
    """The personal space."""
    did: str = field(repr=False)
    mailbox: str = field(repr=False)


def claimed_by(token: str) -> Who:
    """What the token itself says."""
    return Who(
        space=parse_uuid(token_claim(token, "personal_space_id")),
        did=token_claim(token, "did"),
        mailbox=token_claim(token, "mailbox_id") or token_claim(token, "client_id"),
    )


async def told_by(client: SyncClient, token: str) -> Who:
    """What the server says; what the token does if the server is one that does not tell.

    Raises:
        SyncClientError: the server could not be asked.
    """
    try:
        info = await client.info()
    except RequestFailed as error:
        if error.code != ErrorCode.METHOD_NOT_FOUND:
            raise
        return claimed_by(token)
    return Who(parse_uuid(info.space), info.did, info.mailbox)


async def who_is(
    url: str,
    token: str,
    source: Callable[[], Awaitable[str]],
    did_key: EllipticCurvePrivateKey | None,
    *,
    shared: bool,
) -> Who:
    """What the token says if it names what is needed, else what the server says.

    Args:
        shared: whether a shared space is used, for which the DID is needed, not the personal space.

    Raises:
        SyncClientError: the server could not be asked.
    """
    who = claimed_by(token)
    named = bool(who.did) if shared else who.space is not None
    if named or not token_claim(token, "sub"):  # without a user it is no token that a server takes
        return who
    async with SyncClient(url, source, did_key=did_key) as client:
        return await told_by(client, token)


def did_key_of(file: Path | None, tokens: TokenOptions) -> EllipticCurvePrivateKey | None:
    """The key behind our DID, if there is one; none where a dev server's own issuer vouches for it.

    Args:
        file: instead of the default one.

    Raises:
        UsageProblem: it cannot be read.
    """
    # Sharing builds on folders and is imported where it is needed only.
    from less_sync.client.sharing.person import default_did_key_path, person_from

    if file is None and tokens.user is not None and tokens.issuer is not None:
        return None
    path = file or default_did_key_path()
    return person_from(path, user=None, issuer=None).key if path.exists() else None
