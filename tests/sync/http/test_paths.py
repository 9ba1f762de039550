"""Paths as they were sent, tricks included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.http.paths import FilePath, PathTemplate, decoded, match_file_path


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/api/v1/spaces/s/files/f", ("s", "f")),
        (b"/api/v1/spaces//files/f", ("", "f")),
        (b"/api/v1/spaces/%7Bs%7D/files/urn%3auuid%3Af", ("{s}", "urn:uuid:f")),
        (b"/api/v1/spaces/a%2Fb/files/%2e%2e", ("a/b", "..")),
        (b"/api/v1/spaces/../files/.", ("..", ".")),
        (b"/api/v1/spaces/s;x=1/files/f;y", ("s;x=1", "f;y")),
        (b"/api/v1/spaces/%00/files/f%0d%0a", ("\0", "f\r\n")),
        (b"/api/v1/spaces/%C3%A9/files/+", ("é", "+")),
        (b"/api/v1/spaces/%/files/%4", ("%", "%4")),
        (b"/api/v1/spaces/%zz/files/%2", ("%zz", "%2")),
        (b"/api/v1/spaces/%25%32%66/files/%252f", ("%2f", "%2f")),
        (b"/api/v1/spaces/%FF/files/f", (None, "f")),
        (b"/api/v1/spaces/s/files/%C3", ("s", None)),
        (b"/api/v1/spaces/%ED%A0%80/files/%C0%AF", (None, None)),
    ],
)
def test_each_parameter_is_one_segment_decoded_once_as_utf_8(
    raw: bytes, expected: tuple[str | None, str | None]
) -> None:
    assert match_file_path(raw) == FilePath(*expected)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"*",
        b"/",
        b"/api/v1/spaces/s/files/",
        b"/api/v1/spaces/s/files",
        b"/api/v1/spaces/s/files/f/",
        b"/api/v1/spaces/s/files/f/g",
        b"/api/v1/spaces/s/t/files/f",
        b"/api/v1/spaces/files/f",
        b"//api/v1/spaces/s/files/f",
        b"/api//v1/spaces/s/files/f",
        b"/api/v1/spaces/s//files/f",
        b"/API/v1/spaces/s/files/f",
        b"/api/v1/space%73/s/files/f",
        b"/api/v1/spaces/s%2Ffiles/f",
        b"/api/v1/spaces/s/../s/files/f",
        b"/x/../api/v1/spaces/s/files/f",
        b"/api/v1/spaces/s/files/f\n/",
        b"/api/v1/spaces/s/files;/f",
        b"api/v1/spaces/s/files/f",
    ],
)
def test_another_path_is_not_taken_for_that_of_a_file(raw: bytes) -> None:
    assert match_file_path(raw) is None


def test_a_path_without_parameters_is_that_path_alone() -> None:
    health = PathTemplate("/health.json")
    assert health.match(b"/health.json") == ()
    assert not any(map(health.match, (b"/health.json/", b"/healthxjson", b"/HEALTH.json", b"/health.json\n")))


def test_a_parameter_before_a_fixed_end_may_be_empty() -> None:
    assert PathTemplate("/a/{x}/b").match(b"/a//b") == (b"",)


@given(st.binary(max_size=40))
def test_no_segment_fails_to_be_decoded_and_what_was_encoded_comes_back(segment: bytes) -> None:
    encoded = "".join(f"%{byte:02x}" for byte in segment).encode()
    try:
        assert decoded(encoded) == segment.decode()
    except UnicodeDecodeError:
        assert decoded(encoded) is None
    decoded(segment)
