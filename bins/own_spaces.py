"""The spaces that servers keep for themselves, which no figures for operators include."""

from typing import Final

from less_sync.storage import IdRange
from less_sync.sync.canary import CANARY_FIRST, CANARY_LAST

OWN_SPACES: Final = IdRange(CANARY_FIRST, CANARY_LAST)
