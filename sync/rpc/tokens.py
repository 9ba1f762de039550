"""`token.refresh`: a session goes on under a newer token of the same caller."""

from less_sync.auth import AuthError, TokenCheck, normalize_issuer
from less_sync.sync.access.grants import has_scope
from less_sync.sync.access.sign_in import auth_failure
from less_sync.sync.call import Call
from less_sync.sync.protocol.messages import TokenRefreshParams, TokenRefreshResult


async def refresh(call: Call, params: TokenRefreshParams, _grant: None) -> TokenRefreshResult:
    """Replace the session's identity; on any failure the old one stays (docs/protocol.md 7.1).

    The issuer is compared too: another trusted issuer's token with the same subject is another caller
    (docs/protocol.md 7.1).
    """
    try:
        identity = await call.services.authenticator.identify(params.token)
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
