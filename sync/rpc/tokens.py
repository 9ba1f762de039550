"""`token.refresh`: a session goes on under a newer token of the same caller. `session.info`: who that is."""

from typing import Final

from less_sync.auth import AuthError, TokenCheck, normalize_issuer
from less_sync.sync.access.grants import SCOPES, has_scope
from less_sync.sync.access.sign_in import auth_failure
from less_sync.sync.call import Call
from less_sync.sync.protocol.messages import (
    SessionInfo,
    SessionInfoParams,
    TokenRefreshParams,
    TokenRefreshResult,
)

_EXPIRY_MAX: Final = 2**53 - 1
"""The largest integer that every client can read."""


async def refresh(call: Call, params: TokenRefreshParams, _grant: None) -> TokenRefreshResult:
    """Replace the session's identity; on any failure the old one stays (docs/protocol.md 7.1).

    The issuer is compared too: another trusted issuer's token with the same subject is another caller
    (docs/protocol.md 7.1).
    """
    try:
        identity = await call.services.authenticator.identify(params.token, params.did_proof)
    except AuthError as error:
        return TokenRefreshResult(ok=False, error=auth_failure(error).refresh_error)
    if not has_scope(identity, "sync"):
        call.services.authenticator.refused(TokenCheck.SCOPE)
        return TokenRefreshResult(ok=False, error="sync scope required")
    old = call.identity
    same_issuer = normalize_issuer(identity.issuer) == normalize_issuer(old.issuer)
    if not same_issuer or identity.user_id != old.user_id or identity.client_id != old.client_id:
        return TokenRefreshResult(ok=False, error="token identity mismatch")
    call.caller.adopt(identity)
    return TokenRefreshResult(ok=True)


async def info(call: Call, params: SessionInfoParams, _grant: None) -> SessionInfo:
    """Tell a client what the server knows of it: a token of a derived identity does not say it
    (docs/protocol.md 7.19).
    """
    identity = call.identity
    space = identity.personal_space
    return SessionInfo(
        space="" if space is None else str(space),
        mailbox=identity.mailbox,
        did=identity.did,
        scopes=[scope for scope in SCOPES if has_scope(identity, scope)],
        expires_at=min(identity.expires_at, _EXPIRY_MAX),
    )
