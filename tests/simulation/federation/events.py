"""What happens to the two servers and the wire at a time that the script names."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.simulation.cast import SHARED
from tests.simulation.federation.servers import EDGE, HOME, KEYS

if TYPE_CHECKING:
    from tests.simulation.federation.world import FederatedWorld

CLOCK_S_MIN, CLOCK_S_MAX = 301.0, 7200.0
"""How far a clock goes wrong: beyond the age of a signature."""
WRONG_S: Final = 30.0
"""The longest that it stays wrong."""
DRAIN_SPREAD_S, DRAIN_WITHIN_S, DRAINED_S = 2.0, 8.0, 20.0
"""The longest spread of a drain, the time of each session, and the longest time until it is taken back."""


def _cut(world: "FederatedWorld", amount: float) -> None:
    for wire in world.network.wires:
        wire.reset()


def _part(world: "FederatedWorld", amount: float) -> None:
    world.network.part(amount * 60.0)


def _restart_home(world: "FederatedWorld", amount: float) -> None:
    _restart(world, HOME, politely=amount > 0.5)


def _restart_edge(world: "FederatedWorld", amount: float) -> None:
    _restart(world, EDGE, politely=amount > 0.5)


def _restart(world: "FederatedWorld", name: str, *, politely: bool) -> None:
    """Stop a server and start another one over its tables; not politely: its connections end first."""
    place = world.places[name]
    if name in world.restarting:
        return
    place.server.listening = False
    if not politely:
        for seat in place.seats:
            seat.line.hang_up(0.0)
        for wire in world.network.wires:
            wire.reset()
        place.standing.database.lose(1000)
    for seat in place.seats:
        seat.witness.shut_down_s = world.loop.time()

    async def again() -> None:
        try:
            await place.server.stop()
            await place.start()
        finally:
            del world.restarting[name]

    world.restarting[name] = world.loop.create_task(again(), name=f"restart of {name}")


def _clock_of(name: str) -> Callable[["FederatedWorld", float], None]:
    def jump(world: "FederatedWorld", amount: float) -> None:
        far_s = CLOCK_S_MIN + (CLOCK_S_MAX - CLOCK_S_MIN) * abs(2 * amount - 1)
        world.wall_offset_s[name] = far_s if amount > 0.5 else -far_s

        def right() -> None:
            world.wall_offset_s[name] = 0.0

        world.loop.outside(amount * WRONG_S, "the clock is right again", right)
        for wire in world.network.wires:
            wire.reset()

    return jump


def _another_key(world: "FederatedWorld", amount: float) -> None:
    """The home is told of it first, and restarted for it; a while later the edge signs with it."""
    world.places[HOME].standing.trusted = list(KEYS)
    _restart(world, HOME, politely=True)
    world.loop.outside(amount * 20.0, "promoted", lambda: _promote(world))


def _unknown_key(world: "FederatedWorld", amount: float) -> None:
    """The edge signs with a key that the home does not know yet."""
    _promote(world)
    if amount > 0.5:
        for wire in world.network.wires:
            wire.reset()


def _promote(world: "FederatedWorld") -> None:
    world.places[EDGE].standing.keys.fragment = KEYS[1]


def _another_secret(world: "FederatedWorld", amount: float) -> None:
    standing = world.places[HOME].standing
    standing.secret = "another secret" if standing.secret else None
    _restart(world, HOME, politely=amount > 0.5)


def _lock(world: "FederatedWorld", amount: float) -> None:
    world.places[HOME].standing.database.lock(SHARED, amount * amount * 9.0)


def _drop(world: "FederatedWorld", amount: float) -> None:
    world.members[int(amount * len(world.members))].hang_up()


def _drain_of(name: str) -> Callable[["FederatedWorld", float], None]:
    """An operator drains a server, and takes it back: sometimes before everybody is gone, sometimes after."""

    def drain(world: "FederatedWorld", amount: float) -> None:
        sessions = world.places[name].server.services.sessions
        sessions.drain(spread_s=amount * DRAIN_SPREAD_S, within_s=DRAIN_WITHIN_S)

        def undrain() -> None:
            sessions.reopen()

        world.loop.outside(amount * amount * DRAINED_S, "undrain", undrain)

    return drain


EVENTS: Final[dict[str, Callable[["FederatedWorld", float], None]]] = {
    "cut": _cut,
    "part": _part,
    "restart home": _restart_home,
    "restart edge": _restart_edge,
    "clock of the edge": _clock_of(EDGE),
    "clock of the home": _clock_of(HOME),
    "another key": _another_key,
    "unknown key": _unknown_key,
    "another secret": _another_secret,
    "lock": _lock,
    "drop": _drop,
    "drain home": _drain_of(HOME),
    "drain edge": _drain_of(EDGE),
}
