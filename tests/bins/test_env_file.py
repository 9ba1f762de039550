"""The file of variables: systemd's syntax, and a message for every line that systemd would pass over."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from less_sync.bins.settings.env_file import FILE_BYTES_MAX, EnvFileError, parse_env_file, read_env_file


def faults(content: bytes) -> list[str]:
    with pytest.raises(EnvFileError) as caught:
        parse_env_file(content)
    return [problem.strip() for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# one\n; two\n\n \t\n  # three\nA=b", {"A": "b"}),
        ("# goes on \\\nA=b", {"A": "b"}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("  A = b  c \t\nD=", {"A": "b  c", "D": ""}),
        ("A=b=c#d;e", {"A": "b=c#d;e"}),
        ("A=one\nA=two", {"A": "two"}),
        ("A=b\\\nc", {"A": "bc"}),
        ("A=b\\", {"A": "b"}),
        (r"A=a\ \\\"b\n", {"A": 'a \\"bn'}),
        ("A=b\\ ", {"A": "b "}),
        ("A=b \t\\\n \nC=d", {"A": "b \t", "C": "d"}),
        ("A=$B ${C}", {"A": "$B ${C}"}),
        ("A='b \\ \"\nc' ", {"A": 'b \\ "\nc'}),
        ('A=" b\\"\\\\\\`\\$\\n\\\nc "', {"A": ' b"\\`$\\nc '}),
        ("A='b'\"c\" d", {"A": "bcd"}),
        ("A=b'c' \"d\"", {"A": "b'c' \"d\""}),
        ("A=''\nB=\"\"", {"A": "", "B": ""}),
        ("_a1='x'", {"_a1": "x"}),
        ("A=naïve ☃", {"A": "naïve ☃"}),
    ],
)
def test_the_syntax_is_that_of_systemd(text: str, values: dict[str, str]) -> None:
    assert parse_env_file(text.encode()) == values


def test_a_line_that_systemd_would_pass_over_is_a_problem_with_its_number() -> None:
    told = faults(b"A=1\nnonsense hunter2\nexport B=2\n1C=3\nD E=4\n=5\nF='6\n7")
    assert told == [
        "line 2: expected NAME=VALUE",
        "line 3: expected NAME=VALUE, without `export`",
        "line 4: a name has letters, digits and underscores, and no digit in front",
        "line 5: a name has letters, digits and underscores, and no digit in front",
        "line 6: a name has letters, digits and underscores, and no digit in front",
        "line 7: the quote is not closed",
    ]


def test_lines_are_counted_through_values_of_several() -> None:
    assert faults(b"A='1\n2\n3'\nB=4\\\n5\nC") == ["line 6: expected NAME=VALUE"]


def test_what_is_no_text_is_a_problem() -> None:
    assert faults(b"A=1\nB=\xff") == ["line 2: not valid UTF-8"]
    assert faults(b"A=1\0") == ["line 1: a NUL or a byte order mark"]
    assert faults("\ufeffA=1".encode())[0] == "line 1: a NUL or a byte order mark"


def test_a_large_file_and_many_problems_are_cut_short() -> None:
    assert faults(b"#" * (FILE_BYTES_MAX + 1)) == [": larger than 262144 bytes"]
    assert parse_env_file(b"#" * FILE_BYTES_MAX) == {}
    assert len(faults(b"x\n" * 1000)) == 20


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = psutil.Process().num_fds()
    for name, reason in (
        ("absent", "No such file or directory (os error 2)"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
    ):
        path = tmp_path / name
        with pytest.raises(EnvFileError) as caught:
            read_env_file(path)
        assert caught.value.problems == [f'ENV_FILE "{path}": {reason}']
    assert psutil.Process().num_fds() == before
    (tmp_path / "bad").write_text("A=1\nB")
    with pytest.raises(EnvFileError) as caught:
        read_env_file(tmp_path / "bad")
    assert caught.value.problems == [f'ENV_FILE "{tmp_path / "bad"}" line 2: expected NAME=VALUE']
