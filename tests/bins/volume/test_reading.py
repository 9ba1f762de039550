"""From flags to options: lists for each directory, sizes, addresses, and directories that will not do."""

from pathlib import Path

import pytest

from less_sync.bins.volume.flags import FLAGS, WORD
from less_sync.bins.volume.go_flags import Parser
from less_sync.bins.volume.reading import NEVER_S, OptionsError, parse_size, read_options
from less_sync.volume.options import Address, DirectoryOptions, Options


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("a", "b")]
    for one in made:
        one.mkdir()
    return made


def options(*arguments: str, **environment: str) -> Options:
    return read_options(Parser(FLAGS).parse(arguments, environment, word=WORD), environment)


def test_what_is_not_given_follows_from_what_is(directories: list[Path]) -> None:
    found = options(f"-dir={directories[0]}", "-ip=h", "-port=81")
    assert (found.bind, found.port, found.grpc_port, found.public_port) == ("h", 81, 10_081, 81)
    assert (found.server_id, found.public_url, found.metrics_ip) == ("h:81", "h:81", "h")
    assert found.masters == (Address("localhost", 9333, 19333),)
    assert found.directories == (DirectoryOptions(directories[0], 8, "", (), 0, 1.0),)
    assert (found.file_bytes_max, found.upload_bytes_max, found.upload_wait_s) == (256 << 20, 0, 60.0)
    assert found.sync_interval_s == 0.0
    assert options(f"-dir={directories[0]}", "-sync.every=1m30s").sync_interval_s == 90.0


def test_an_address_of_ipv6_has_brackets_where_a_port_follows(directories: list[Path]) -> None:
    for given in ("::1", "[::1]"):
        found = options(f"-dir={directories[0]}", f"-ip={given}", "-port=81")
        assert (found.ip, found.bind, found.own_address) == ("[::1]", "::1", "[::1]:81")
    assert options(f"-dir={directories[0]}", "-ip=h", "-ip.bind=[::]").bind == "::"


def test_an_own_address_is_found_that_is_no_loopback(directories: list[Path]) -> None:
    found = options(f"-dir={directories[0]}")
    assert found.ip
    assert found.ip != "127.0.0.1"
    assert found.bind == found.ip


def test_each_directory_has_its_own_of_everything(directories: list[Path]) -> None:
    first, second = directories
    found = options(
        f"-dir={first}, {second}",
        "-max=7,0",
        "-disk=hdd,SSD",
        "-tags=x:y,",
        "-minFreeSpace=5,10GiB",
        f"-dir.idx={first}",
    )
    assert found.directories == (
        DirectoryOptions(first, 7, "", ("x", "y"), 0, 5.0),
        DirectoryOptions(second, 0, "ssd", (), 10 << 30, 0.0),
    )
    assert found.index_directory == first


def test_a_single_entry_is_for_all_directories(directories: list[Path]) -> None:
    found = options(
        f"-dir={directories[0]},{directories[1]}", "-max=3", "-tags=t", "-minFreeSpacePercent=2.5"
    )
    assert [(one.max_volumes, one.tags, one.free_percent_min) for one in found.directories] == [
        (3, ("t",), 2.5)
    ] * 2


def test_home_is_expanded_and_without_directories_it_is_the_temporary_one(directories: list[Path]) -> None:
    home = directories[0].parent
    assert options("-dir=~/a", HOME=str(home)).directories[0].path == directories[0]
    assert options(TMPDIR=str(directories[1])).directories[0].path == directories[1]


def test_several_masters_and_the_old_name_that_wins(directories: list[Path]) -> None:
    found = options(f"-dir={directories[0]}", "-master=a:1", "-mserver=b:2, c:3.4 ,[::1]:5")
    assert found.masters == (Address("b", 2, 10_002), Address("c", 3, 4), Address("[::1]", 5, 10_005))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-dir={a},{b}", "-max=1,2,3"], "2 directories by -dir, but only 3 max is set by -max"),
        (["-dir={a}", "-max=x"], "The max specified in -max not a valid number x"),
        (["-dir={a}", "-max=-1"], "The max specified in -max not a valid number -1"),
        (["-dir={a}", "-minFreeSpace=5XB"], "The value specified in -minFreeSpace not a valid value 5XB"),
        (["-dir={a}", "-minFreeSpace=nan"], "The value specified in -minFreeSpace not a valid value nan"),
        (
            ["-dir={a}", "-minFreeSpacePercent="],
            "The value specified in -minFreeSpacePercent not a valid value ",
        ),
        (["-dir={a}/no"], "Check Data Folder(-dir) Writable {a}/no : stat {a}/no: no such file or directory"),
        (["-dir={a},{b}/file"], "Check Data Folder(-dir) Writable {b}/file : not a valid folder!"),
        (
            ["-dir={a}", "-dir.idx={a}/no"],
            "Check Meta Folder (-dir.idx) Writable {a}/no : stat {a}/no: no such",
        ),
        (["-dir={a}", "-port=70000"], "-port: no port: 70000"),
        (["-dir={a}", "-port=60000"], "-port.grpc: no port: 70000"),
        (["-dir={a}", "-port.public=-1"], "-port.public: no port: -1"),
        (["-dir={a}", "-metricsPort=70000"], "-metricsPort: no port: 70000"),
        (["-dir={a}", "-metricsPort=-1"], "-metricsPort: no port: -1"),
        (["-dir={a}", "-master=a:70000"], "-master: no address: a:70000"),
        (["-dir={a}", "-master=a:1.70000"], "-master: no address: a:1.70000"),
        (["-dir={a}", "-rack=r\udcff"], "-rack: no UTF-8: 'r\\udcff'"),
        (["-dir={a}", "-master=a"], "-master: no address: a"),
        (["-dir={a}", "-master=,"], "-master: none is given"),
        (["-dir={a}", "-index.offsetBytes=6"], "-index.offsetBytes: 4 or 5, not 6"),
    ],
)
def test_what_cannot_be_used_is_named(directories: list[Path], arguments: list[str], words: str) -> None:
    places = {"a": directories[0], "b": directories[1]}
    (directories[1] / "file").touch()
    with pytest.raises(OptionsError) as failed:
        options(*(one.format(**places) for one in arguments))
    assert str(failed.value).startswith(words.format(**places))


def test_a_directory_whose_owner_may_not_write_will_not_do(directories: list[Path]) -> None:
    directories[0].chmod(0o555)
    with pytest.raises(OptionsError, match=r": Not writable!$"):
        options(f"-dir={directories[0]}")


def test_no_limit_is_none_and_a_wait_without_end_may_be_asked_for(directories: list[Path]) -> None:
    where = f"-dir={directories[0]}"
    idle = [options(where, f"-idleTimeout={seconds}").idle_timeout_s for seconds in (7, 0, -1, 1 << 62)]
    assert idle == [7.0, NEVER_S, NEVER_S, NEVER_S]
    assert options(where, f"-preStopSeconds={1 << 62}").pre_stop_s == NEVER_S


def test_sizes_have_units_of_both_kinds() -> None:
    texts = ("7", "7B", "1KiB", "1kb", "1.5 GiB", "2T", "3Mi", "1,000")
    assert [parse_size(text) for text in texts] == [
        7,
        7,
        1024,
        1000,
        3 << 29,
        2 * 10**12,
        3 << 20,
        1000,
    ]
    for text in ("", "GiB", "-1", "1.2.3", "1XiB", "9" * 400):
        with pytest.raises(ValueError, match=r"no size|could not convert|not in tuple"):
            parse_size(text)


def test_levels_and_form_of_the_log_come_from_the_flag_and_the_environment(directories: list[Path]) -> None:
    where = f"-dir={directories[0]}"
    assert (options(where).log_level, options(where).log_format) == ("info", "text")
    assert options(where, "-v=2").log_level == "debug"
    found = options(where, LOG_LEVEL="warn", LOG_FORMAT="json")
    assert (found.log_level, found.log_format) == ("warn", "json")


def test_flags_without_effect_are_told(directories: list[Path]) -> None:
    found = options(f"-dir={directories[0]}", "-index=leveldb", "-maintenanceMBps=5", "-pprof")
    assert found.unread == ("index", "maintenanceMBps", "pprof")
