"""Who we are to the server, which is asked: it alone knows whether it believes what the token says of that.

Where it derives identities it has the DID proven, and claims that name a space, a mailbox or a DID mean
nothing (docs/tokens.md 2.5), though tokens may have them. Servers that cannot be asked believe them.
"""

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


async def told_by(client: SyncClient, token: str) -> Who:
    """What the server says; what the token does if the server does not offer to tell.

    Raises:
        SyncClientError: the server could not be asked.
    """
    try:
        info = await client.info()
    except RequestFailed as error:
        if error.code != ErrorCode.METHOD_NOT_FOUND:
            raise
        return Who(
            space=parse_uuid(token_claim(token, "personal_space_id")),
            did=token_claim(token, "did"),
            mailbox=token_claim(token, "mailbox_id") or token_claim(token, "client_id"),
        )
    return Who(parse_uuid(info.space), info.did, info.mailbox)


async def who_is(url: str, token: str, did_key: EllipticCurvePrivateKey | None) -> Who:
    """Whose token this is, over a connection of its own.

    Raises:
        SyncClientError: the server could not be asked.
    """

    async def source() -> str:
        return token

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
