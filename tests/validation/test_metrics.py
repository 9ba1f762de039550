"""Prometheus' text as checks read it, and shares that are never told too low."""

import math

import pytest

from less_sync.validation.metrics import FAMILIES, parsed

TEXT = """\
# HELP less_sync_http_requests_total Answered.
# TYPE less_sync_http_requests_total counter
less_sync_http_requests_total{route="/health",code="200",less_sync_role="sync"} 12
less_sync_http_requests_total{route="/a\\"b\\\\c",code="503",less_sync_role="sync"} 1e3
# TYPE less_sync_rpc_total counter
# TYPE less_sync_delivery_lag_seconds gauge
less_sync_delivery_lag_seconds NaN
"""


def test_series_are_found_by_what_they_are_for_and_by_their_labels() -> None:
    families = parsed(TEXT, FAMILIES)
    assert families.sum("requests") == 1012
    assert families.sum("requests", code="503") == 1000
    assert families.all("requests", code="503")[0].labels["route"] == '/a"b\\c'
    assert families.sum("requests", code="404") == 0


def test_a_family_without_series_is_there_and_another_is_not() -> None:
    families = parsed(TEXT, FAMILIES)
    assert (families.has("rpc"), families.all("rpc"), families.sum("rpc")) == (True, (), 0)
    assert not families.has("refusals")
    assert math.isnan(families.all("delivery_lag")[0].value)


def test_a_series_has_the_same_key_however_its_labels_stand() -> None:
    one, other = (
        parsed(f"x_total{{{labels}}} 1\n", {"x": "x_total"}).all("x")[0]
        for labels in ('a="1",b="2"', 'b="2",a="1"')
    )
    assert one.key == other.key


@pytest.mark.parametrize("text", ["<html>\n", "hello\n", "a{b=\n", "{} 1\n"])
def test_what_is_no_such_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parsed(text, FAMILIES)
