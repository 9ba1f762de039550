"""People, their devices and their spaces, drawn at random: who subscribes to what, and at which node."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DEVICES: Final = ((1, 0.35), (2, 0.4), (3, 0.15), (4, 0.1))
"""How many devices people have, and the part of them: two in the mean."""
SHARED_MEAN: Final = 4.0
"""Shared spaces that a person is in, in the mean; most are in few, some in many (geometric)."""
MEMBERS_MAX: Final = 1000
_TAIL: Final = 3.0
"""Spaces with so many members become rarer with this power of it: most have a handful."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Population:
    """Every subscription of a cluster: the device, its node and the space, in arrays of one length."""

    nodes: int
    people: int
    device: Ints
    node: Ints
    space: Ints
    node_of_device: Ints

    @property
    def subscriptions(self) -> int:
        return len(self.space)

    @property
    def connections(self) -> int:
        return len(self.node_of_device)

    def sizes(self) -> list[tuple[int, int]]:
        """(subscribed connections, how many spaces have so many)."""
        subscribers = np.bincount(self.space)
        sizes, counts = np.unique(subscribers[subscribers > 0], return_counts=True)
        return list(zip(sizes.tolist(), counts.tolist(), strict=True))

    def listened(self) -> Ints:
        """For each space, at how many nodes somebody listens to it."""
        pairs = np.unique(self.space * self.nodes + self.node)
        return np.bincount(pairs // self.nodes, minlength=int(self.space.max()) + 1)

    def messages_per_push(self) -> float:
        """How many other nodes hear of a push, counted: whoever is subscribed to a space pushes to it."""
        subscribers, nodes = np.bincount(self.space), self.listened()
        return float((subscribers * np.maximum(nodes - 1, 0)).sum() / subscribers.sum())


def draw(people: int, nodes: int, *, seed: int = 1) -> Population:
    """Draw a population; a device is connected to any node, as behind a balancer."""
    chance = np.random.default_rng(seed)
    counts, parts = zip(*DEVICES, strict=True)
    devices = chance.choice(counts, size=people, p=parts)
    owner = np.repeat(np.arange(people), devices)
    node_of_device = chance.integers(0, nodes, size=len(owner))
    first = np.concatenate(([0], np.cumsum(devices)[:-1]))

    wanted = chance.geometric(1.0 / SHARED_MEAN, size=people)
    members = np.repeat(np.arange(people), wanted)
    chance.shuffle(members)
    weights = np.arange(2, MEMBERS_MAX + 1, dtype=np.float64) ** -_TAIL
    sizes = chance.choice(np.arange(2, MEMBERS_MAX + 1), size=len(members) // 2, p=weights / weights.sum())
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), len(members)))]
    shared = np.repeat(np.arange(len(sizes)), sizes)
    members = members[: len(shared)]

    # The personal space of each has the number of its person, the shared ones come behind.
    whose = np.concatenate((np.arange(people), members))
    which = np.concatenate((np.arange(people), shared + people))
    times = devices[whose]
    space = np.repeat(which, times)
    ends = np.cumsum(times)
    within = np.arange(len(space)) - np.repeat(ends - times, times)
    device = np.repeat(first[whose], times) + within
    # A person drawn twice for a space is in it once.
    pairs = np.unique(space * len(owner) + device)
    space, device = pairs // len(owner), pairs % len(owner)
    return Population(nodes, people, device, node_of_device[device], space, node_of_device)
