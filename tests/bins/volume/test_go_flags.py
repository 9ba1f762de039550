"""The flags of the volume server, in every way that existing servers take them."""

from pathlib import Path

import pytest

from less_sync.bins.volume.flags import FLAGS, WORD
from less_sync.bins.volume.go_flags import (
    FlagError,
    Given,
    HelpWanted,
    Parser,
    parse_duration,
    parse_int,
)

BOOLEAN = "-images.fix.orientation"


def parsed(*arguments: str, **environment: str) -> Given:
    return Parser(FLAGS).parse(arguments, environment, word=WORD)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-port=81", "-readMode=local", "-images.fix.orientation", "-ip=h"),
        ("--port=81", "--readMode=local", "--images.fix.orientation=true", "--ip=h"),
        ("-port", "81", "-readMode", "local", "-images.fix.orientation=T", "-ip", "h"),
        ("--port", "81", "--readMode", "local", "--images.fix.orientation=1", "--ip", "h"),
        ("volume", "-port", "81", "--readMode=local", "--images.fix.orientation", "-ip=h"),
        ("-port", "81", "volume", "--readMode=local", "--images.fix.orientation", "-ip=h"),
        ("-logtostderr", "-v", "0", "volume", "-port=8", "-port=81", "-readMode=local", "-ip", "h", BOOLEAN),
    ],
    ids=range(7),
)
def test_every_spelling_says_the_same(arguments: tuple[str, ...]) -> None:
    given = parsed(*arguments)
    assert given.integer("port") == 81
    assert given.text("readMode") == "local"
    assert given.boolean("images.fix.orientation")
    assert given.text("ip") == "h"
    assert given.rest == []


def test_the_line_of_the_parity_suite_is_understood() -> None:
    line = (
        "--port 1 --port.grpc 2 --port.public 3 --ip 127.0.0.1 --ip.bind 127.0.0.1 --dir /d --max 16 "
        "--master 127.0.0.1:9 --securityFile /s --readMode proxy --concurrentUploadLimitMB 1 "
        "--concurrentDownloadLimitMB 2 --preStopSeconds 0 --inflightUploadDataTimeout 2s "
        "--inflightDownloadDataTimeout 1m0s"
    )
    given = parsed(*line.split())
    assert [given.integer(name) for name in ("port", "port.grpc", "port.public", "preStopSeconds")] == [
        1,
        2,
        3,
        0,
    ]
    assert (given.seconds("inflightUploadDataTimeout"), given.seconds("inflightDownloadDataTimeout")) == (
        2,
        60,
    )
    assert (given.text("securityFile"), given.text("master")) == ("/s", "127.0.0.1:9")


def test_the_first_argument_without_a_dash_ends_the_flags() -> None:
    given = parsed("-port=1", "volume", "-max=2", "more", "-max=3", "volume")
    assert given.text("max") == "2"
    assert given.rest == ["more", "-max=3", "volume"]
    assert parsed("-port=1", "--", "-max=3").rest == ["-max=3"]
    assert parsed("-", "-max=3").rest == ["-", "-max=3"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-what"], "flag provided but not defined: -what"),
        (["--what=1"], "flag provided but not defined: -what"),
        (["-port"], "flag needs an argument: -port"),
        (["-port="], 'invalid value "" for flag -port: parse error'),
        (["-port=8o"], 'invalid value "8o" for flag -port: parse error'),
        (
            ["-port", "99999999999999999999"],
            'invalid value "99999999999999999999" for flag -port: value out of',
        ),
        (["-hasSlowRead=yes"], 'invalid boolean value "yes" for -hasSlowRead: parse error'),
        (
            ["-inflightUploadDataTimeout=2"],
            'invalid value "2" for flag -inflightUploadDataTimeout: parse error',
        ),
        (["-=1"], "bad flag syntax: -=1"),
        (["---port"], "bad flag syntax: ---port"),
    ],
)
def test_what_is_not_understood_is_named(arguments: list[str], words: str) -> None:
    with pytest.raises(FlagError) as failed:
        parsed(*arguments)
    assert str(failed.value).startswith(words)


@pytest.mark.parametrize("argument", ["-h", "--h", "-help", "--help"])
def test_help_is_asked_for_in_four_ways(argument: str) -> None:
    with pytest.raises(HelpWanted):
        parsed("-port=1", argument)


def test_the_environment_has_no_prefix_but_for_flags_of_the_whole_program(tmp_path: Path) -> None:
    given = parsed(
        "-max=2",
        MAX="3",
        IDLETIMEOUT="7",
        VOLUME_ALLOWUNTRUSTEDREMOTEENDPOINTS="true",
        INDEX_OFFSETBYTES="5",
        WEED_RACK="no",
        WEED_CONFIG_DIR="/c",
        CONFIG_DIR="/no",
        DEBUG="",
    )
    assert given.text("max") == "2"
    assert given.integer("idleTimeout") == 7
    assert given.boolean("volume.allowUntrustedRemoteEndpoints")
    assert given.integer("index.offsetBytes") == 5
    assert given.boolean("debug")
    assert (given.text("rack"), given.text("config_dir")) == ("", "/c")
    assert [name for name, origin in given.origins.items() if origin == "environment"] == [
        "index.offsetBytes",
        "idleTimeout",
        "volume.allowUntrustedRemoteEndpoints",
        "debug",
        "config_dir",
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("IDLETIMEOUT", "abc", 'invalid value "abc" for environment variable idleTimeout: parse error'),
        ("PORT", "", 'invalid value "" for environment variable port: parse error'),
        ("DEBUG", "x", 'invalid boolean value "x" for environment variable debug: parse error'),
    ],
)
def test_a_bad_variable_is_an_error(name: str, value: str, words: str) -> None:
    with pytest.raises(FlagError) as failed:
        parsed(**{name: value})
    assert str(failed.value) == words


def test_a_file_of_options_comes_after_the_line_and_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "options"
    path.write_text(
        "# a comment\n\n-max=1\nrack r1\ndataCenter:d1\n--readMode = local\nwhat=ever\nidleTimeout=9\n"
        "images.fix.orientation\nrack r2\nport=70\n"
    )
    given = parsed(f"-options={path}", "-port=71", IDLETIMEOUT="8")
    assert (given.text("max"), given.text("rack"), given.text("dataCenter")) == ("1", "r2", "d1")
    assert (given.integer("idleTimeout"), given.integer("port")) == (8, 71)
    assert given.boolean("images.fix.orientation")
    assert given.origins["max"] == "file"
    path.write_text("idleTimeout=soon\n")
    with pytest.raises(FlagError, match='invalid value "soon" for configuration variable idleTimeout'):
        parsed(OPTIONS=str(path))
    with pytest.raises(FlagError, match=r"options file ~nobody-here/x: "):
        parsed("-options=~nobody-here/x")
    with pytest.raises(FlagError, match=r"options file .*: No such file or directory"):
        parsed(f"-options={tmp_path}/absent")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("2s", 2.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("3ns", 3e-9),
        ("-1m", -60.0),
        ("+1m", 60.0),
        ("0", 0.0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1d", ".s", "1s2", "--1s", "1e3s", "9999999h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="parse error"):
        parse_duration(text)


def test_whole_numbers_have_bases_and_bounds() -> None:
    assert [parse_int(text) for text in ("-7", "+7", "0x1F", "0b11", "0o17", "017", "1_000", "0")] == [
        -7,
        7,
        31,
        3,
        15,
        15,
        1000,
        0,
    ]
    assert parse_int("9223372036854775807") == 2**63 - 1
    for text in ("", "-", "1.0", " 1", "1_", "1__0", "0x", "0o", "09", "٣"):
        with pytest.raises(ValueError, match="parse error"):
            parse_int(text)
    with pytest.raises(ValueError, match="value out of range"):
        parse_int("9223372036854775808")
