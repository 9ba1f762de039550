"""The matrix as the engine sees it: a manifest that was read, resolved and found in order. Pure data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from less_sync.validation.procedure import Procedure, Value

NO_TARGET: Final = "none"

Stage = Literal["before", "after"]
Mode = Literal["gate", "baseline"]
ServerKind = Literal["less-sync", "rust", "go"]


@dataclass(frozen=True, slots=True)
class Retry:
    """When a check is tried again: only after no byte of an answer came."""

    times: int
    on: tuple[str, ...]
    """Of `connect`, `dns`, `tls-handshake`."""
    pause_s: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """One row."""

    id: str
    lane: str
    procedure: Procedure = field(repr=False)
    target: str
    required: bool
    parameters: Mapping[str, Value]
    """All that the procedure has, defaults filled in."""
    timeout_s: int
    description: str
    exclusive: tuple[str, ...]
    needs: tuple[str, ...] = ()
    feature: str = ""
    stages: tuple[str, ...] = ()
    """Empty: all. Elsewhere the check has no row."""
    kinds: tuple[str, ...] = ()
    retry: Retry | None = None
    not_applicable: str = ""
    """Why the row does not apply: a feature that was declared absent, or `previous`. Then it is optional."""


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """A running server that checks look at."""

    name: str
    base_url: str = ""
    """Scheme and host, no path; empty when its variable is not set."""
    server: ServerKind = "less-sync"
    writes: Literal["none", "throwaway"] = "none"
    connections_per_mailbox: int = 16
    canonical_host: str = ""
    scratch: bool = False
    """The run starts it itself; it has no address that a report could name."""
    input: str = ""
    """The variable that gives its address, for the reason of a blocked row."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is decided, by which rows, looking where."""

    kind: str
    name: str
    title: str
    valid_for_s: int
    lanes: tuple[str, ...]
    """Each of them must have a required row, or there is no GO: `lane-missing`."""
    features: Mapping[str, bool]
    references: Mapping[str, str]
    targets: Mapping[str, TargetSpec]
    identities: Mapping[str, Mapping[str, object]]
    metrics: Mapping[str, str]
    """Names of metric families by what the checks call them."""
    acknowledged_losses: tuple[str, ...]
    one_image: bool
    checks: Sequence[Check]
    """In the order of every file of the report."""
    production_space_exists: bool = False
