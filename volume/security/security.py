"""Who may do what, from `security.toml` and the environment, read again on demand."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from less_sync.volume.security.settings import SecuritySettings
from less_sync.volume.security.tokens import Tokens
from less_sync.volume.security.white_list import WhiteList

if TYPE_CHECKING:
    from less_sync.volume.options import Options


class Security:
    """Tokens and the white list. `reload` exchanges them; the page is shown or not from the start."""

    def __init__(
        self, options: "Options", environment: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._options: Final = options
        self._clock: Final = clock
        self.settings: Final = SecuritySettings(options, environment)
        self._read_tokens: Tokens | None = None
        self._write_tokens: Tokens | None = None
        self._white_list = WhiteList(())
        self.reload()
        self.ui_allowed: Final = not self.settings.text("jwt.signing.key") or self.settings.boolean(
            "access.ui"
        )
        """Whether `/ui/index.html` is shown."""

    def reload(self) -> None:
        """Read `security.toml` again. What it no longer says stays as it was."""
        self.settings.read()
        self._write_tokens = self._tokens(self._write_tokens, "jwt.signing.key")
        self._read_tokens = self._tokens(self._read_tokens, "jwt.signing.read.key")
        listed = self.settings.text("guard.white_list").split(",")
        self._white_list = WhiteList((*self._options.white_list, *listed))

    def wants_token(self, write: bool) -> bool:
        """Whether writes (or reads) need a token."""
        return (self._write_tokens if write else self._read_tokens) is not None

    def token_allows(self, token: str, vid: str, fid: str, *, write: bool) -> bool:
        """Whether `token` allows a write or a read of the file named by these texts from the request's path.

        Of `fid` the extension must be gone; what follows its last `_` is cut off here, unless that is first.
        True without a look at the token where none is wanted.
        """
        tokens = self._write_tokens if write else self._read_tokens
        if tokens is None:
            return True
        cut = fid.rfind("_")
        return tokens.allow(token, f"{vid},{fid[:cut] if cut > 0 else fid}")

    def listed(self, ip: str) -> bool:
        """Whether the peer may write, by the white list; everybody may if there is none."""
        return self._white_list.lists(ip)

    def _tokens(self, former: Tokens | None, name: str) -> Tokens | None:
        key = self.settings.text(name).encode(errors="surrogateescape")
        if former is not None and former.key == key:
            return former
        return Tokens(key, self._clock) if key else None
