"""Texts in error messages."""

import pytest

from less_sync.volume.format.quoting import quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", '""'),
        ("aä €", '"aä €"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1f\x7f", r'"\x00\x1f\x7f"'),
        ("\udcff\udc80", r'"\xff\x80"'),
        ("\u2028\U000e0001\xa0\ue000😀", r'"\u2028\U000e0001\u00a0\ue000😀"'),
    ],
)
def test_what_could_be_mistaken_is_escaped(text: str, shown: str) -> None:
    assert quoted(text) == shown
