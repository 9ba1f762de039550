"""Who is asking and what they were granted. Pure: time, keys and fetches are arguments. Imports no other room."""

from auth.errors import AuthError, ExpiredToken, InvalidToken, KeysUnavailable, MissingToken, UntrustedIssuer
from auth.identity import PERSONAL_SPACE_ROOTS, Identity, personal_space_id

__all__ = [
    "PERSONAL_SPACE_ROOTS",
    "AuthError",
    "ExpiredToken",
    "Identity",
    "InvalidToken",
    "KeysUnavailable",
    "MissingToken",
    "UntrustedIssuer",
    "personal_space_id",
]
