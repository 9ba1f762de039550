"""The recorded scenarios this server does not serve yet: the one list of them, empty in the end.

`test_replay.py` plays these too, and fails when one of them passes: it is to be taken off the list.
"""

from typing import Final

NOT_SERVED: Final[frozenset[str]] = frozenset(
    {
        # federation
        "federation/home-unreachable",
        "federation/invitation",
    }
)
