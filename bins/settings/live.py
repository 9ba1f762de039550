"""Settings that take effect while a server runs (docs/operations.md 11.2)."""

from dataclasses import replace
from typing import Final

from less_sync.bins.settings.config import Settings

LIVE: Final = frozenset({"TRUSTED_ISSUERS", "ISSUERS_FILE", "AUDIENCES", "LOG_LEVEL"})
"""All of them."""


def with_live(settings: Settings, new: Settings) -> Settings:
    """The settings with what takes effect without a restart, as it is in others."""
    return replace(
        settings,
        issuers=new.issuers,
        token_policy=replace(settings.token_policy, audiences=new.token_policy.audiences),
        log=replace(settings.log, level=new.log.level),
        slips=new.slips,
    )


def refusal_of(settings: Settings, new: Settings) -> str | None:
    """Why none of the new settings may be taken over; None: they may."""
    if new.dev != settings.dev:
        # A server must not begin to believe tokens that anybody on this machine can mint.
        return "dev mode begins and ends with a restart"
    if new.issuers.derives and settings.identity_hash_key is None:
        return "derived identities need IDENTITY_HASH_KEY, which takes effect with a restart"
    return None
