"""What a procedure declares of itself: the engine runs and judges it by this alone."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from less_sync.validation.context import Context

Value = bool | int | str | tuple[str, ...]
"""A parameter's. Numbers are whole, with the unit in the name: reports hold no fractions."""


class Looser(Enum):
    """Which way a parameter is moved to let more pass (docs/validation.md 4.3)."""

    UP = auto()  # a limit: the greater, the looser; of a flag, true
    DOWN = auto()  # how much is looked at: the smaller, the looser; of a flag, false
    ANY = auto()  # every other value may be looser, so it counts as such
    NEVER = auto()  # says where to look, not what passes


@dataclass(frozen=True, slots=True)
class Parameter:
    """A key of `with`. Its type is that of its default."""

    default: Value
    looser: Looser


@dataclass(frozen=True, slots=True)
class Same:
    """Each pair that was measured under this name is equal, and there is one. The pair has its own reason."""

    name: str


@dataclass(frozen=True, slots=True)
class AtMost:
    """A measured number is not greater than a parameter. Fails with `reason`."""

    name: str
    """Of the number, unit last."""
    parameter: str
    reason: str


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A measured number is not less than a parameter. Fails with `reason`."""

    name: str
    parameter: str
    reason: str


Criterion = Same | AtMost | AtLeast


class Place(Enum):
    """When a procedure runs."""

    IN_TURN = auto()  # in its lane, in the manifest's order
    BESIDE = auto()  # from the start, beside all lanes: it mostly waits
    WINDOW = auto()  # from before all others until after them: the difference of counters
    LAST = auto()  # when windows have ended too: what would be seen in them, a restart
    TIDY = auto()  # at the very end, after an interruption too: cleaning up


KINDS: Final = ("cutover", "upgrade", "rollback", "decommission", "selfhost")
LANES: Final = (
    *("service", "auth", "contract", "parity", "database", "federation"),
    *("observability", "rollback", "performance"),
)
CUSTOM: Final = "custom"
"""The lane of checks that an operator adds without putting them into one of ours."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """A row of the catalogue.

    `run` measures, into `context.measured`, and judges nothing. It is cancelled when its time is over.
    """

    name: str
    lane: str
    run: Callable[["Context"], Awaitable[None]] = field(repr=False)
    description: str
    """At most 120 characters."""
    criteria: Sequence[Criterion]
    """Never empty; the reason of the first that does not hold is the row's."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    timeout_s: int = 30
    exclusive: Sequence[str] = ()
    """Checks that share a name never overlap, whatever their lanes."""
    capabilities: Sequence[str] = ()
    """`owner:token`, `member:key` (and the token), `mint`: else the row is blocked with `identity:…`."""
    inputs: Sequence[str] = ()
    """Variables without which the row is blocked with `input:NAME`."""
    database: bool = False
    """Needs the database of its target."""
    feature: str = ""
    """Not applicable where this feature is declared absent."""
    previous: bool = False
    """Not applicable in `selfhost` unless the release now in service was named."""
    compatibility: bool = False
    """Has a row only where a target's address is not its official one (`canonical_host`)."""
    own_metrics: bool = False
    """Reads families that an existing server has not: its row is there only with a metrics address, and is
    optional."""
    offered: bool = False
    """Required only where all of its inputs are given."""
    place: Place = Place.IN_TURN
    writes: bool = False
    """Writes to its target: never tried again, and refused where the target may only be read."""

    def __post_init__(self) -> None:
        assert self.lane in (*LANES, CUSTOM)
        assert self.criteria
        for criterion in self.criteria:
            assert isinstance(criterion, Same) or criterion.parameter in self.parameters, self.name
