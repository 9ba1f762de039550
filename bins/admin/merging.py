"""Metrics of several workers as those of one server (docs/operations.md 13.4).

Counters and histograms are summed, and what a worker that ended had counted when it was looked at last stays
in the sums: none goes backwards because a worker was replaced. Of a worker that does not answer the last
counts stay too, and its gauges are left out. Gauges are summed, but for those of `RULES`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from less_sync.bins.admin.families import NAMES_MAX
from less_sync.bins.admin.within import Family, Sample
from less_sync.bins.workers.places import WorkerPlace
from less_sync.sync.metrics import OTHER

RULES: Final[Mapping[str, Callable[[float, float], float]]] = {
    # Of what each finds out by itself, the worst.
    "less_sync_delivery_lag_seconds": max,
    "less_sync_delivery_proof_age_seconds": max,
    "less_sync_key_set_failures": max,
    "less_sync_federation_link_open": min,
    # What is the same everywhere, once.
    "less_sync_nodes_known": max,
    "less_sync_last_backup_timestamp_seconds": max,
    "less_sync_node_info": max,
    "less_sync_build_info": max,
    "python_info": max,
    # When a worker is replaced, two have its number for a moment.
    "process_start_time_seconds": max,
}
"""What becomes of two values of one series of a gauge, where that is not their sum."""
PER_WORKER: Final = "process_"
"""Families that begin so have a series for each worker, told apart by its number."""
WORKER_LABEL: Final = "worker"
NAMED_BY_OTHERS: Final = ("peer", "home", "issuer")
"""Labels whose values others may add to: `NAMES_MAX` in one family, beyond that they are `other`."""
ENDED_SERIES_MAX: Final = 50_000
"""Series of counters that are kept of workers that ended. More than there are: all other labels are few."""

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
"""The name of a sample, and its labels in their order."""
Values = dict[Key, float]

_COUNTED: Final = frozenset({"counter", "histogram"})


class Merger:
    """Remembers what counters stood at. One per listener."""

    def __init__(self) -> None:
        self._shapes: dict[str, Family] = {}
        """Every family that was told of, without its series, in the order they were told in."""
        self._counted: dict[WorkerPlace, Values] = {}
        """Counters of workers that live, as of when they answered last."""
        self._ended: Values = {}
        """The sums of those that do not."""
        self._names: dict[tuple[str, str], dict[str, None]] = {}
        """The values that are told apart, by family and label."""

    def merged(
        self, living: Sequence[WorkerPlace], told: Mapping[WorkerPlace, Sequence[Family]]
    ) -> Iterator[Metric]:
        """The families of the whole server.

        Args:
            living: all workers that live; the others have ended for good.
            told: the answers of those that answered.
        """
        gauges: dict[str, Values] = {}
        for place, families in told.items():
            counted: Values = {}
            for family in families:
                self._shapes.setdefault(family.name, Family(family.name, family.kind, family.text, []))
                if family.kind in _COUNTED:
                    self._add(family, place, counted, _sum)
                else:
                    rule = RULES.get(family.name, _sum)
                    self._add(family, place, gauges.setdefault(family.name, {}), rule)
            self._counted[place] = counted
        for place in [one for one in self._counted if one not in living]:
            self._keep(self._counted.pop(place))
        counts = self._counts()
        for shape in self._shapes.values():
            of = counts if shape.kind in _COUNTED else gauges
            yield _metric(shape, of.get(shape.name, {}))

    def _add(
        self, family: Family, place: WorkerPlace, into: Values, rule: Callable[[float, float], float]
    ) -> None:
        for sample in family.samples:
            key = (sample.name, self._labels(family, sample, place))
            into[key] = rule(into[key], sample.value) if key in into else sample.value

    def _labels(self, family: Family, sample: Sample, place: WorkerPlace) -> Labels:
        labels = dict(sample.labels)
        if family.name.startswith(PER_WORKER):
            labels[WORKER_LABEL] = str(place.number)
        for label in NAMED_BY_OTHERS:
            if label in labels:
                labels[label] = self._known(family.name, label, labels[label])
        return tuple(labels.items())

    def _known(self, family: str, label: str, name: str) -> str:
        """The name, or `other`. Once told apart it stays so, lest a counter fall."""
        names = self._names.setdefault((family, label), {})
        if name not in names and len(names) < NAMES_MAX:
            names[name] = None
        return name if name in names else OTHER

    def _keep(self, counted: Values) -> None:
        for key, value in counted.items():
            if key in self._ended or len(self._ended) < ENDED_SERIES_MAX:
                self._ended[key] = self._ended.get(key, 0.0) + value

    def _counts(self) -> dict[str, Values]:
        """The counters by family."""
        total = dict(self._ended)
        for counted in self._counted.values():
            for key, value in counted.items():
                total[key] = total.get(key, 0.0) + value
        found: dict[str, Values] = {}
        for (name, labels), value in total.items():
            found.setdefault(_family_of(name, self._shapes), {})[name, labels] = value
        return found


def _sum(one: float, other: float) -> float:
    return one + other


def _family_of(sample: str, shapes: Mapping[str, Family]) -> str:
    for part in ("_total", "_bucket", "_count", "_sum"):
        if sample.endswith(part) and sample.removesuffix(part) in shapes:
            return sample.removesuffix(part)
    return sample


def _metric(shape: Family, values: Values) -> Metric:
    family = Metric(shape.name, shape.text, shape.kind)
    for (name, labels), value in _in_order(shape.kind, values):
        family.add_sample(name, dict(labels), value)
    return family


def _in_order(kind: str, values: Values) -> Iterable[tuple[Key, float]]:
    """Buckets of one histogram one behind the other: those of a worker that knew other methods come later."""
    if kind != "histogram":
        return values.items()
    return sorted(values.items(), key=lambda item: _without_bound(item[0][1]))


def _without_bound(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] != "le")
