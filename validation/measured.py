"""What a procedure hands to the judge: pairs of what was wanted and seen, and numbers; no word of passing."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Pair:
    """Something that was seen beside what it should be. Compared by the judge, with `==`."""

    wanted: object = field(repr=False)
    seen: object = field(repr=False)
    reason: str
    """The row's when they differ: a slug (`outcome.slug`)."""


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number, its unit in its name, and how many samples it rests on."""

    value: int
    samples: int


@dataclass(slots=True)
class Measured:
    """Grows while a procedure runs, and is judged when it has ended, however that was."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    """By criterion, in the order of measuring."""
    numbers: dict[str, Number] = field(default_factory=dict)

    def same(self, criterion: str, wanted: object, seen: object, reason: str) -> None:
        """Measure a pair for the criterion `Same(criterion)`."""
        self.pairs.setdefault(criterion, []).append(Pair(wanted, seen, reason))

    def number(self, name: str, value: int, *, samples: int = 1) -> None:
        """Measure a number; the last one of a name counts. Without a criterion it is shown, not judged."""
        self.numbers[name] = Number(value, samples)

    def no_samples(self, criterion: str) -> None:
        """There was nothing to look at: the row is blocked for want of data, unless something else failed."""
        self.pairs.setdefault(criterion, [])

    @property
    def shown(self) -> dict[str, int]:
        """For the report: numbers, and how many pairs each criterion rests on."""
        counts = {f"{name}_compared": len(pairs) for name, pairs in self.pairs.items()}
        return counts | {name: number.value for name, number in self.numbers.items()}
