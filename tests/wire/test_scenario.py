"""What the vectors hold is understood whole, and masks put recorded text where received text stands."""

import cbor2
import pytest

from tests.wire.replay import BARRIER, BARRIER_ANSWER, text_at
from tests.wire.scenario import Expect, Mask, Send, _step, load


def test_every_step_of_the_vectors_is_understood() -> None:
    scenarios = load().scenarios
    assert len(scenarios) == 114
    assert sum(len(scenario.steps) for scenario in scenarios.values()) == 1694


def test_the_barrier_is_the_one_of_the_vectors() -> None:
    steps = load().scenarios["handshake/too-many"].steps
    assert steps[2] == Send(on="a", data=BARRIER)
    assert steps[3] == Expect(on="a", data=BARRIER_ANSWER, masks=(), within_s=None)


def test_a_step_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown keys"):
        _step({"on": "a", "send": "00", "colour": "red"})
    with pytest.raises(ValueError, match="unknown step"):
        _step({"on": "a"})


def test_a_piece_may_be_repeated() -> None:
    step = _step({"on": "a", "send": ["ff", {"repeat": "0102", "times": 2}, "ee"]})
    assert step == Send(on="a", data=bytes.fromhex("ff01020102ee"))


def test_masks_are_read_with_their_name() -> None:
    step = _step({"on": "a", "expect": "00", "mask": [{"path": "result.id", "pattern": "x", "as": "inv"}]})
    assert step == Expect(on="a", data=b"\0", masks=(Mask("result.id", "x", "inv"),), within_s=None)


def test_text_is_found_by_path_through_maps_and_arrays() -> None:
    data = cbor2.dumps({"result": {"invitations": [{"id": "one"}, {"id": "two"}], "n": 1}})
    assert text_at(data, "result.invitations.1.id") == "two"
    assert text_at(data, "result.invitations.2.id") == ""
    assert text_at(data, "result.n") == ""
    assert text_at(data, "result.n.deeper") == ""
