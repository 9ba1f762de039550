"""What is said of a manifest that is no JSON."""

import pytest

from less_sync.volume.http.go_json import json_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("not json", "invalid character 'o' in literal null (expecting 'u')"),
        ("tru", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        ("  x", "invalid character 'x' looking for beginning of value"),
        ("{x", "invalid character 'x' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ('{"[":[1 2]}', "invalid character '2' after array element"),
        ("{} {}", "invalid character '{' after top-level value"),
        ('["a', "unexpected end of JSON input"),
        ('["\n"]', "invalid character '\\n' in string literal"),
        ('["\\x"]', "invalid character 'x' in string escape code"),
        ("[1,", "unexpected end of JSON input"),
        ("[" * 100_000, "exceeded max depth"),
        ("[1]", "json: cannot unmarshal array into Go value"),
        ("true", "json: cannot unmarshal bool into Go value"),
    ],
)
def test_the_fault_is_worded_as_existing_servers_word_it(text: str, fault: str) -> None:
    assert json_fault(text) == fault
