"""The capacity model, against everything counted one by one; and `make capacity` in small."""

import random
import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.bench.capacity import compared, off, table
from tests.bench.capacity_model import (
    Costs,
    Load,
    deliveries_per_push,
    messages_per_push,
    needs,
    nodes_for,
    nodes_reached,
)
from tests.bench.population import draw
from tests.bench.sampled_node import sample

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
LOAD = Load(connections=10_000, subscriptions=50_000, pushes_s=1000.0, deliveries_per_push=3.0)


@pytest.mark.parametrize(("subscribers", "nodes"), [(1, 5), (2, 1), (2, 2), (5, 3), (40, 10), (3, 1000)])
def test_how_many_nodes_hear_of_a_push_is_what_throwing_dice_gives(subscribers: int, nodes: int) -> None:
    chance, rounds = random.Random(1), 20_000
    total = 0
    for _ in range(rounds):
        author, *others = (chance.randrange(nodes) for _ in range(subscribers))
        total += len({node for node in others if node != author})
    assert nodes_reached(subscribers, nodes) == pytest.approx(total / rounds, rel=0.03, abs=0.01)


def test_who_is_in_more_spaces_of_a_size_pushes_more_to_them() -> None:
    assert deliveries_per_push([(2, 3), (10, 1)]) == pytest.approx((6 * 1 + 10 * 9) / 16)
    assert messages_per_push([(1, 100)], 50) == 0.0


def test_one_node_needs_no_bus_and_more_nodes_have_less_to_do_each() -> None:
    alone = needs(LOAD, 1, 0.0)
    assert alone.bus_cores == 0.0
    found = [needs(LOAD, nodes, nodes_reached(4, nodes)) for nodes in (2, 4, 8, 16)]
    assert [one.node_cores for one in found] == sorted((one.node_cores for one in found), reverse=True)
    assert sum(one.node_cores * one.nodes for one in found[:1]) > alone.node_cores
    assert alone.postgres_cores == found[0].postgres_cores


def test_the_fewest_nodes_fit_and_one_less_does_not() -> None:
    sizes = [(2, 1000), (5, 100)]
    load = Load(100_000, 300_000, 30_000.0, deliveries_per_push(sizes))
    found = nodes_for(load, sizes)
    assert found.fits
    assert found.nodes > 2
    assert not needs(load, found.nodes - 2, messages_per_push(sizes, found.nodes - 2)).fits


def test_a_model_that_is_off_is_found_out() -> None:
    assert not off(("", 10.0, 9.0, 1.2))
    assert off(("", 10.0, 8.0, 1.2))
    assert off(("", 8.0, 10.0, 1.2))


def test_a_small_cluster_is_as_the_model_says() -> None:
    population = draw(20_000, 20)
    assert population.subscriptions > 8 * population.people
    rows = list(compared(population, [sample(population, 3)], Costs()))
    counted = [row for row in rows if not row[0].startswith(("us", "connections", "subscriptions"))]
    assert [row[0] for row in counted if off(row)] == []
    assert len(list(table(population, Costs()))) == 8


def test_the_sampled_node_delivers_to_everybody_who_listens() -> None:
    population = draw(5_000, 10)
    found = sample(population, 1)
    assert found.heard_deliveries >= found.heard == 5000, "somebody here listens to each"
    assert found.interests <= found.subscriptions


def test_the_page_says_what_the_model_reckons_with() -> None:
    section = PAGE.read_text().partition("### 6.1 ")[2].partition("\n### ")[0]
    said = dict(re.findall(r"^\| `(\w+)` \| ([\d.,]+)", section, re.MULTILINE))
    costs = Costs()
    assert {name: float(value.replace(",", "")) for name, value in said.items()} == {
        field.name: pytest.approx(getattr(costs, field.name), rel=0.005) for field in fields(costs)
    }
