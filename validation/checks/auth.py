"""Lane `auth`: who is let in, to what, and who is not (docs/validation.md 6.2)."""

from typing import Final

from less_sync.validation.checks import auth_spaces as spaces
from less_sync.validation.checks import auth_tokens as tokens
from less_sync.validation.procedure import AtMost, Looser, Parameter, Procedure, Same

LANE: Final = "auth"
THREE: Final = ("owner:key", "member:key", "stranger:key")
OWNER: Final = "identity:owner"
MEMBER: Final = "identity:member"
STRANGER: Final = "identity:stranger"

PROCEDURES: Final[tuple[Procedure, ...]] = (
    Procedure(
        "token-ways",
        LANE,
        tokens.token_ways,
        "takes a token of every identity that was given, over HTTP and by WebSocket",
        (Same("http"), Same("socket")),
        exclusive=(OWNER, MEMBER),
        capabilities=("owner:token",),
    ),
    Procedure(
        "http-refusals",
        LANE,
        tokens.http_refusals,
        "refuses who cannot say who they are in the words of the contract",
        (Same("refusals"),),
        capabilities=("owner:token",),
    ),
    Procedure(
        "token-refusals",
        LANE,
        tokens.token_refusals,
        "refuses every wrong token, by close frame and over HTTP",
        (Same("refusals"),),
        capabilities=("mint", "member:key"),
    ),
    Procedure(
        "refresh",
        LANE,
        tokens.refresh,
        "takes a new token of the same person on an open connection, and of nobody else",
        (Same("results"), Same("identity")),
        exclusive=(OWNER,),
        capabilities=("mint", "owner:key", "member:token"),
        writes=True,
    ),
    Procedure(
        "production-token",
        LANE,
        tokens.production_token,
        "takes the tokens of production's users",
        (Same("http"), Same("socket")),
        exclusive=(OWNER,),
    ),
    Procedure(
        "share",
        LANE,
        spaces.share,
        "lets people into a space whom its owner, or somebody let in, has granted it",
        (Same("pulled"), Same("refused")),
        exclusive=(OWNER, MEMBER, STRANGER),
        capabilities=THREE,
        writes=True,
    ),
    Procedure(
        "revoke",
        LANE,
        spaces.revoke,
        "lets nobody act on a grant that was taken back, nor on one made from it",
        (
            *(Same("before"), Same("refused"), Same("ended"), Same("owner")),
            AtMost("ended_ms", "within_ms", "late"),
        ),
        {"within_ms": Parameter(2000, Looser.UP)},
        exclusive=(OWNER, MEMBER, STRANGER),
        capabilities=THREE,
        writes=True,
    ),
    Procedure(
        "ucan-refusals",
        LANE,
        spaces.ucan_refusals,
        "refuses every grant that does not cover what is asked for",
        (Same("refused"), Same("accepted")),
        exclusive=(OWNER, MEMBER, STRANGER),
        capabilities=THREE,
        writes=True,
    ),
    Procedure(
        "isolation",
        LANE,
        spaces.isolation,
        "keeps personal spaces to their owners, and does not even tell that they exist",
        (Same("closed"), Same("alike")),
        exclusive=(OWNER, MEMBER, STRANGER),
        capabilities=("owner:token", "member:token", "stranger:token"),
        writes=True,
    ),
    Procedure(
        "connection-limit",
        LANE,
        tokens.connection_limit,
        "takes as many connections of one person as it says, and no more",
        (Same("one-more"), Same("again")),
        {"again_ms": Parameter(5000, Looser.UP)},
        exclusive=(MEMBER,),
        capabilities=("member:token",),
    ),
)
