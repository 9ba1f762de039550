"""Reads the text of `/metrics`, with the parser of another program's making."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.watchdog import Delivery
from less_sync.storage import PostgresPool
from tests.live import Live

NOWHERE = Path("no-data-directory")
ROLE = {"less_sync_role": "sync"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one look at the metrics told."""

    types: dict[str, str]
    """Of each family, by the name that stands behind `# TYPE`."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    """Value by name and labels."""

    def value(self, name: str, **labels: str) -> float | None:
        """What one series stands at; None if there is no such series."""
        return self.samples.get((name, frozenset({**ROLE, **labels}.items())))

    def values(self, name: str, label: str) -> dict[str, float]:
        """What the series of a name stand at that differ in one label, by its value."""
        found = [(dict(labels), value) for (of, labels), value in self.samples.items() if of == name]
        assert all(labels.keys() == {*ROLE, label} for labels, _ in found), found
        return {labels[label]: value for labels, value in found}

    def labels(self, name: str) -> set[str]:
        """The labels that series of a name have, or of the family that the name is a part of."""
        return {label for (of, labels), _ in self.samples.items() if of == name for label, _ in labels}


def scrape(text: bytes) -> Scrape:
    """Read a text; fails when a series is there twice."""
    told = text.decode()
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(told):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, key
            samples[key] = sample.value
    return Scrape(dict(re.findall(r"^# TYPE (\S+) (\S+)$", told, re.MULTILINE)), samples)


def look(live: Live) -> Scrape:
    """What a server tells now."""
    return scrape(exposition(live).text())


def exposition(
    live: Live,
    *,
    pool: PostgresPool | None = None,
    delivery: Delivery | None = None,
    data_dir: Path = NOWHERE,
    clock: Callable[[], float] = time.monotonic,
) -> Exposition:
    """What a server tells whose watchdog knows nothing and that was never backed up, but for these."""
    return Exposition(
        live.services,
        pool=pool or live.pool,
        lanes=live.lanes,
        delivery=delivery or Delivery(live.services.limits, clock),
        data_dir=data_dir,
        clock=clock,
    )
