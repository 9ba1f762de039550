"""Our own key, as whatever signs requests to other servers asks for it."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from nacl.signing import SigningKey


class Signing(NamedTuple):
    """The key that signs, and the id by which peers know it."""

    key: "SigningKey"
    key_id: str


class Signer(Protocol):
    """Our own keys."""

    def primary(self) -> Signing | None:
        """The key that signs now; None while there is none. Asked at each dial: a new one counts at once."""
