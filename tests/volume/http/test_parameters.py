"""What a client asks of a write beside the file."""

import pytest

from less_sync.volume.format.ttl import parse_ttl
from less_sync.volume.http.parameters import (
    NONE,
    ParameterError,
    Parameters,
    is_form,
    parameters_of,
    parse_strictly,
)


@pytest.mark.parametrize(
    ("encoded", "values"),
    [
        ("", {}),
        ("a=1&b=2&a=3", {"a": "1", "b": "2"}),
        ("&&a&=x&b==&", {"a": "", "": "x", "b": "="}),
        ("a%20b=c+d%2B", {"a b": "c d+"}),
        ("a=%ff", {"a": "\udcff"}),
    ],
)
def test_a_query_is_read(encoded: str, values: dict[str, str]) -> None:
    assert parse_strictly(encoded) == values


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        ("a=%zz", 'invalid URL escape "%zz"'),
        ("a=1%", 'invalid URL escape "%"'),
        ("a=%4", 'invalid URL escape "%4"'),
        ("%41%x=1", 'invalid URL escape "%x"'),
        ("a=1;b=2", "invalid semicolon separator in query"),
        ("a&" * 10_001, "number of URL query parameters exceeded limit"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(encoded: str, error: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parse_strictly(encoded)
    assert str(refused.value) == error


@pytest.mark.parametrize(
    ("values", "fields", "parameters"),
    [
        ({}, {}, NONE),
        ({"ts": "7", "ttl": "7d"}, {"ts": "8"}, Parameters(last_modified=7, ttl=parse_ttl("1w"))),
        ({"ts": "", "x": "y"}, {"ts": "8", "ttl": "3m", "cm": "T"}, Parameters(8, parse_ttl("3m"), True)),
        ({"ts": "-1", "ttl": "x", "cm": "yes", "fsync": "True", "type": "Replicate"}, {}, Parameters()),
        ({"fsync": "true", "type": "replicate"}, {}, Parameters(is_durable=True, is_replica=True)),
    ],
)
def test_parameters_are_read_and_what_is_malformed_counts_as_absent(
    values: dict[str, str], fields: dict[str, str], parameters: Parameters
) -> None:
    assert parameters_of(values, fields) == parameters


def test_a_form_is_told_by_its_type() -> None:
    assert is_form(b"Application/X-WWW-form-urlencoded; charset=x")
    assert not is_form(b"application/json")
    assert not is_form(None)
    with pytest.raises(ParameterError):
        is_form(b"a/b; c")
