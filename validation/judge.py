"""The only place where a measurement becomes a status. Pure.

A procedure that does nothing cannot pass: a criterion that was not measured is an error, one that rests on no
sample is blocked, and neither hides one that failed.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from less_sync.validation.measured import Measured
from less_sync.validation.outcome import PASSED, CheckEnd, Outcome, Status
from less_sync.validation.procedure import AtLeast, AtMost, Criterion, Same, Value

NO_DATA = Outcome(Status.BLOCKED, "no-data")


def judge(
    criteria: Sequence[Criterion],
    parameters: Mapping[str, Value],
    measured: Measured,
    end: CheckEnd | None = None,
) -> Outcome:
    """What a check came to.

    Args:
        parameters: those in force, all that the criteria name among them.
        end: how the procedure ended before it had measured all.
    """
    outcomes = [_criterion(one, parameters, measured) for one in criteria]
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            return outcome
    if end is not None:
        return end.outcome
    if not outcomes:
        return Outcome(Status.ERROR, "no-criterion")
    for outcome in outcomes:
        if outcome.status is not Status.PASSED:
            return outcome
    return PASSED


def _criterion(criterion: Criterion, parameters: Mapping[str, Value], measured: Measured) -> Outcome:
    match criterion:
        case Same(name):
            pairs = measured.pairs.get(name)
            if pairs is None:
                return _not_measured(name)
            for pair in pairs:
                if pair.wanted != pair.seen:
                    return Outcome(Status.FAILED, pair.reason)
            return PASSED if pairs else NO_DATA
        case AtMost(name, parameter, reason) | AtLeast(name, parameter, reason):
            number = measured.numbers.get(name)
            if number is None:
                return _not_measured(name)
            if not number.samples:
                return NO_DATA
            limit = parameters[parameter]
            assert isinstance(limit, int)
            held = number.value <= limit if isinstance(criterion, AtMost) else number.value >= limit
            return PASSED if held else Outcome(Status.FAILED, reason)
        case _:
            assert_never(criterion)


def _not_measured(name: str) -> Outcome:
    return Outcome(Status.ERROR, f"not-measured:{name}")
