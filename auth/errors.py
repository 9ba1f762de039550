"""What can be wrong with a credential.

AuthError
├── MalformedText       no strict base64url, JSON or claim; decoders raise it, verifiers never let it out
├── MissingToken        no token at all
├── InvalidToken        wrong syntax, signature, claims or audience
│   └── KeysUnavailable the issuer's key set cannot be fetched now: not the caller's fault
├── ExpiredToken        `exp` has passed
└── UntrustedIssuer     `iss` is not configured

`str(error)` is a fixed text per class and never holds any part of a token.
"""

from typing import ClassVar


class AuthError(Exception):
    """Root of this room's errors; the text is the class's own and holds no input."""

    text: ClassVar[str] = "authentication failed"

    def __str__(self) -> str:
        return self.text


class MalformedText(AuthError):
    """A decoder's refusal. Each verifier turns it into its own kind."""

    text = "malformed text"


class MissingToken(AuthError):
    text = "missing authorization token"


class InvalidToken(AuthError):
    text = "invalid token"


class KeysUnavailable(InvalidToken):
    """Keys could not be fetched and none are cached: HTTP 503, WebSocket close 1013, never 4000."""


class ExpiredToken(AuthError):
    text = "token has expired"


class UntrustedIssuer(AuthError):
    text = "untrusted token issuer"
