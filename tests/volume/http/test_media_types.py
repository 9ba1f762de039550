"""Values of the form `type; name=value`."""

import pytest

from less_sync.volume.http.media_types import MediaTypeError, parse


@pytest.mark.parametrize(
    ("value", "type_", "parameters"),
    [
        (b"text/plain", "text/plain", {}),
        (b" Text/Plain ; Charset=UTF-8 ", "text/plain", {"charset": b"UTF-8"}),
        (b"form-data; name=a;filename=b;", "form-data", {"name": b"a", "filename": b"b"}),
        (b'x; a = "b;c" ; d=e', "x", {"a": b"b;c", "d": b"e"}),
        (b'x; a="b\\"c\\\\d\\e"', "x", {"a": b'b"c\\d\\e'}),
        (b'x; a=""', "x", {"a": b""}),
        (b"x; a=1; a=1", "x", {"a": b"1"}),
        (b"x; a*=utf-8''%41%c3%a4", "x", {"a": "Aä".encode()}),
        (b"x; a=plain; a*=US-ASCII'en'B", "x", {"a": b"B"}),
        (b"x; a*=latin-1''%e4", "x", {}),
        (b"x; a*=utf-8''%zz", "x", {}),
        (b"x; a*1=two; a*0=one; a*2*=%20three", "x", {"a": b"onetwo three"}),
        (b"x; a*0*=utf-8''%41; a*1*=%zz; a*2=c", "x", {"a": b"Ac"}),
        (b"x; a*5=lost", "x", {}),
    ],
)
def test_a_value_is_taken_apart(value: bytes, type_: str, parameters: dict[str, bytes]) -> None:
    assert parse(value) == (type_, parameters)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", "mime: no media type"),
        (b"; a=b", "mime: no media type"),
        (b"a b", "mime: expected slash after first token"),
        (b"a/", "mime: expected token after slash"),
        (b"a/b c", "mime: unexpected content after media subtype"),
        (b"a/b; c", "mime: invalid media parameter"),
        (b"a/b; c=", "mime: invalid media parameter"),
        (b'a/b; c="d', "mime: invalid media parameter"),
        (b'a/b; c="d\re"', "mime: invalid media parameter"),
        (b"a/b; c=d; c=e", "mime: duplicate parameter name"),
        (b"a/b" + b"".join(b"; p%d=x" % number for number in range(200)), "mime: invalid media parameter"),
    ],
)
def test_a_malformed_value_is_refused(value: bytes, error: str) -> None:
    with pytest.raises(MediaTypeError) as refused:
        parse(value)
    assert str(refused.value) == error
