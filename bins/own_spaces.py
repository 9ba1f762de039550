"""The spaces that servers keep for themselves, which no figures for operators include."""

from typing import Final
from uuid import UUID

from less_sync.storage import IdRange

OWN_SPACES: Final = IdRange(
    UUID("6c657373-7379-8e63-8000-000000000000"), UUID("6c657373-7379-8e63-bfff-ffffffffffff")
)
"""Ids that begin with the text `lesssync`, as RFC 9562 version 8 has it."""
