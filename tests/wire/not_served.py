"""The recorded scenarios this server does not serve yet: the one list of them, empty in the end.

`test_replay.py` plays these too, and fails when one of them passes: it is to be taken off the list.
"""

from typing import Final

NOT_SERVED: Final[frozenset[str]] = frozenset(
    {
        # UCANs and shared spaces
        "storage/spaces-missing",
        "storage/revocations-missing",
        # membership
        "params/missing-or-not-a-map",
        "params/empty-map",
        "params/types",
        "params/optional-null",
        "membership/append-list",
        "membership/append-first-empty-prev",
        "membership/errors",
        "membership/revoke",
        "membership/revoke-needs-admin",
        "membership/rate-limit",
        # epochs and DEKs
        "epoch/life",
        "epoch/min-int",
        "epoch/errors",
        "epoch/needs-admin",
        "epoch/complete-needs-admin",
        "deks/get",
        "deks/rewrap",
        "deks/rewrap-changed",
        "deks/errors",
        "token/refresh",
        # invitations
        "invitation/create",
        "invitation/create-errors",
        "invitation/list",
        "invitation/list-limits",
        "invitation/rate-limit",
        "storage/internal",
        "storage/rate-limits-missing",
        # presence and events
        "presence/life",
        "presence/limits",
        # files
        "file/uploaded",
        "file-deks/get-rewrap",
        # federation
        "federation/home-unreachable",
        "federation/invitation",
    }
)
