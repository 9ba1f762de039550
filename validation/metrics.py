"""Names of the metric families that checks read, by what the checks call them."""

from collections.abc import Mapping
from typing import Final

FAMILIES: Final[Mapping[str, str]] = {}
