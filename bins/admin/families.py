"""How a family of metrics is made of plain numbers. Every series says what it is of: `less_sync_role`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from less_sync.storage import Histogram
from less_sync.sync.metrics import OTHER

ROLE_LABEL: Final = "less_sync_role"
ROLE: Final = "sync"
NAMES_MAX: Final = 100
"""Other servers, or issuers, that one family tells apart; those beyond are one, `other`."""

Value = int | float
Values = Mapping[tuple[str, ...], Value]
"""What the series of a family stand at, by the values of its labels."""

Make = Callable[[str, str, Values, str], Metric]
"""`gauge` or `counter`."""


def one(value: Value | None) -> Values:
    """For a family without labels; one whose value is not known has no series."""
    return {} if value is None else {(): value}


def by(values: Mapping[str, Value]) -> Values:
    """For a family with one label, whose values are a table of this program's."""
    return {(name,): value for name, value in values.items()}


def by_name(values: Mapping[str, Value]) -> Values:
    """For a family with one label, whose values others may add to."""
    first = list(values)[:NAMES_MAX]
    bounded = {name: values[name] for name in first}
    if len(values) > NAMES_MAX:
        bounded[OTHER] = sum(values.values()) - sum(bounded.values())
    return by(bounded)


def gauge(name: str, text: str, values: Values, *labels: str) -> Metric:
    """What may rise and fall."""
    family = GaugeMetricFamily(name, text, labels=(ROLE_LABEL, *labels))
    for of, value in values.items():
        family.add_metric((ROLE, *of), value)
    return family


def counter(name: str, text: str, values: Values, *labels: str) -> Metric:
    """What only rises until the process ends. Its name ends in `_total`."""
    family = CounterMetricFamily(name, text, labels=(ROLE_LABEL, *labels))
    for of, value in values.items():
        family.add_metric((ROLE, *of), value)
    return family


def histogram(name: str, text: str, values: Mapping[tuple[str, ...], Histogram], *labels: str) -> Metric:
    """How values are spread, by the values of the labels."""
    family = HistogramMetricFamily(name, text, labels=(ROLE_LABEL, *labels))
    for of, counts in values.items():
        family.add_metric((ROLE, *of), counts.cumulative(), counts.total)
    return family


def with_role(families: Iterable[Metric], role: str = ROLE) -> Iterable[Metric]:
    """What prometheus-client collects by itself, with the label that all of ours have."""
    for family in families:
        ours = Metric(family.name, family.documentation, family.type)
        for sample in family.samples:
            ours.add_sample(sample.name, {ROLE_LABEL: role, **sample.labels}, sample.value)
        yield ours
