"""What a fleet plane in dev mode makes for itself: a management key and a key for its secrets at rest."""

import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Final

from less_sync.bins.kept_secret import kept_private
from less_sync.bins.settings.fleet import key_fault
from less_sync.client.kept_key import KeyFileError
from less_sync.fleet.settings import FleetSettings

MANAGEMENT_KEY_FILE: Final = "management.key"
SECRET_KEY_FILE: Final = "secret.key"
_HEX: Final = re.compile(rb"[0-9a-fA-F]{64}\Z")


def kept_management_key(data_dir: Path) -> str:
    """The key in `management.key`, random and made there, mode 0600, if there is none.

    Raises:
        KeyFileError: it cannot be kept, others may read it, or it is no such key.
    """
    path = data_dir / MANAGEMENT_KEY_FILE
    text = kept_private(path, lambda: secrets.token_urlsafe(32).encode() + b"\n", setting="MANAGEMENT_KEY")
    key = text.decode("ascii", "replace").strip()
    if (fault := key_fault(key)) is not None:
        raise KeyFileError(f"the key in {path} {fault}; remove it to get a new one, or set MANAGEMENT_KEY")
    return key


def kept_secret_key(data_dir: Path) -> bytes:
    """The 32 bytes that `secret.key` holds in hex, random and made there, mode 0600, if there is none.

    Raises:
        KeyFileError: as above.
    """
    path = data_dir / SECRET_KEY_FILE
    text = kept_private(path, lambda: secrets.token_hex(32).encode() + b"\n", setting="FLEET_SECRET_KEY")
    if _HEX.match(text.strip()) is None:
        raise KeyFileError(
            f"{path} does not hold 64 hexadecimal digits; bring its content back or set FLEET_SECRET_KEY: "
            "with another key the secrets that the database keeps are lost"
        )
    return bytes.fromhex(text.decode())


def with_kept_keys(settings: FleetSettings, data_dir: Path) -> FleetSettings:
    """The settings with a kept key wherever one is missing.

    Raises:
        KeyFileError: as above.
    """
    management, secret = settings.management_keys, settings.secret_keys
    if not management[0]:
        management = (kept_management_key(data_dir), *management[1:])
    if not secret[0]:
        secret = (kept_secret_key(data_dir), *secret[1:])
    return replace(settings, management_keys=management, secret_keys=secret)
