"""`make capacity`: a large cluster counted, one of its nodes run, and both held against the model.

Usage: python -m tests.bench.capacity [--people N] [--nodes N]. Ends with status 1 when the model is off.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.capacity_model import (
    GIB,
    KIB,
    Costs,
    Load,
    deliveries_per_push,
    messages_per_push,
    needs,
    nodes_for,
)
from tests.bench.population import Population, draw
from tests.bench.sampled_node import Sample, sample

COUNT_FACTOR_MAX: Final = 1.05
"""By which the model's counts may be off: both are the same arithmetic, one of means, one of every row."""
MEMORY_FACTOR_MAX: Final = 1.5
CPU_FACTOR_MAX: Final = 3.0
"""Wide: machines differ in speed by as much. On the machine of docs/benchmarks.md it is below 1.2."""
SAMPLED: Final = 3
PUSHES_PER_CONNECTION_S: Final = (1 / 600, 1 / 60, 1 / 10)
"""One push of each connection in ten minutes, in one, in ten seconds."""

Row = tuple[str, float, float, float]
"""What, as counted or measured, as the model has it, and by which factor they may differ."""


def compared(population: Population, samples: Sequence[Sample], costs: Costs) -> Iterator[Row]:
    """What the model says, against what was found."""
    sizes = population.sizes()
    yield (
        "other nodes that hear of a push",
        population.messages_per_push(),
        messages_per_push(sizes, population.nodes),
        COUNT_FACTOR_MAX,
    )
    one = len(samples)
    yield (
        "connections of a node",
        sum(each.connections for each in samples) / one,
        population.connections / population.nodes,
        COUNT_FACTOR_MAX,
    )
    yield (
        "subscriptions of a node",
        sum(each.subscriptions for each in samples) / one,
        population.subscriptions / population.nodes,
        COUNT_FACTOR_MAX,
    )
    yield (
        "bytes of a subscription",
        sum(each.subscription_bytes for each in samples) / one,
        costs.subscription_bytes,
        MEMORY_FACTOR_MAX,
    )
    yield (
        "us of a node for a push that it tells the others of",
        sum(each.own_us for each in samples) / sum(each.own for each in samples),
        costs.publish_us,
        CPU_FACTOR_MAX,
    )
    yield (
        "us of a node for a push that it hears of",
        sum(each.heard_us for each in samples) / sum(each.heard for each in samples),
        costs.hear_us,
        CPU_FACTOR_MAX,
    )


def off(row: Row) -> bool:
    """Whether the model is off by more than it may be."""
    _, found, modelled, factor = row
    return not 1 / factor <= found / modelled <= factor


def table(population: Population, costs: Costs) -> Iterator[str]:
    """What clusters need for this population, by how often its people push."""
    sizes = population.sizes()
    deliveries = deliveries_per_push(sizes)
    yield (
        "| pushes/s | nodes | others that hear of one | cores of a node | memory of a node "
        "| Postgres cores | NATS cores | new rows |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for each_s in PUSHES_PER_CONNECTION_S:
        load = Load(
            population.connections,
            population.subscriptions,
            population.connections * each_s,
            deliveries,
            connects_s=population.connections / 3600,
        )
        fewest = nodes_for(load, sizes, costs)
        many = needs(load, population.nodes, messages_per_push(sizes, population.nodes), costs)
        for one in (fewest, many):
            yield (
                f"| {load.pushes_s:,.0f} | {one.nodes:,} | {one.messages_per_push:.1f} "
                f"| {one.node_cores:.3f} "
                f"| {one.node_bytes / KIB / KIB:,.0f} MiB | {one.postgres_cores:.1f} | {one.bus_cores:.1f} "
                f"| {one.bytes_s * 3600 / GIB:,.1f} GiB/h |"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make capacity")
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1000)
    given, costs = parser.parse_args(), Costs()
    population = draw(given.people, given.nodes)
    print(
        f"{given.people:,} people, {population.connections:,} connections, {population.subscriptions:,} "
        f"subscriptions to {len(set(population.space.tolist())):,} spaces, {given.nodes:,} nodes; "
        f"a push is told to {deliveries_per_push(population.sizes()):.1f} connections\n"
    )
    samples = [sample(population, number) for number in range(SAMPLED)]
    rows = list(compared(population, samples, costs))
    print("| | found | model | found / model | may be |")
    print("|---|---|---|---|---|")
    for what, found, modelled, factor in rows:
        print(f"| {what} | {found:,.1f} | {modelled:,.1f} | {found / modelled:.2f} | {factor:g} |")
    print()
    print("\n".join(table(population, costs)))
    wrong = [row[0] for row in rows if off(row)]
    if wrong:
        print(f"\nthe model is off: {', '.join(wrong)}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
