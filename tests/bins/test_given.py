"""Where settings come from: which source wins, and what is said of each setting."""

from dataclasses import asdict
from pathlib import Path

import pytest

from less_sync.bins.settings.config import ConfigError, Settings
from less_sync.bins.settings.given import Given
from less_sync.bins.settings.shown import MASK, Row, in_force, masked_url, rows
from tests.bins.environments import NEEDED, S3_NEEDED, read

ROOT = Path(__file__).parents[2]


def given(tmp_path: Path, text: str, **environment: str) -> Given:
    (tmp_path / "env").write_text(text)
    return Given(NEEDED | {"ENV_FILE": str(tmp_path / "env")} | environment, {"PUSH_LANES": "3"}).with_file()


def row(settings: Settings, name: str) -> Row:
    (found,) = (one for one in rows(settings) if one.name == name)
    return found


def test_an_option_wins_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    sources = given(tmp_path, "PUSH_LANES=4\nAUDIENCES=file", AUDIENCES="environment", LOG_LEVEL="warn")
    settings = Settings.from_given(sources)
    told = [(row(settings, name).value, row(settings, name).source) for name in ("PUSH_LANES", "AUDIENCES")]
    assert told == [("3", "option"), ("file", "ENV_FILE")]
    assert row(settings, "LOG_LEVEL") == Row("LOG_LEVEL", "warn", "environment", "LOG_LEVEL")
    assert row(settings, "LOG_FORMAT") == Row("LOG_FORMAT", "text", "default", None)


def test_which_file_is_read_is_not_for_the_file_to_say(tmp_path: Path) -> None:
    settings = Settings.from_given(given(tmp_path, "ENV_FILE=/elsewhere"))
    assert settings.env_file == tmp_path / "env"


def test_a_line_that_was_removed_does_not_live_on_in_what_systemd_read_from_it(tmp_path: Path) -> None:
    settings = Settings.from_given(given(tmp_path, "AUDIENCES=a\n", AUDIENCES="a", LOG_LEVEL="warn"))
    (tmp_path / "env").write_text("LOG_LEVEL=error\n")
    later = settings.again()
    assert (later.token_policy.audiences, later.log.level) == (frozenset(), "error")
    (tmp_path / "env").write_text("")
    assert settings.again().log.level == "warn"


def test_a_file_with_a_problem_is_told_as_one_of_the_configuration(tmp_path: Path) -> None:
    settings = Settings.from_given(given(tmp_path, ""))
    (tmp_path / "env").unlink()
    with pytest.raises(ConfigError) as caught:
        settings.again()
    assert caught.value.problems == [f'ENV_FILE "{tmp_path / "env"}": No such file or directory (os error 2)']


def test_an_alias_says_which_name_decides() -> None:
    assert row(read(FILE_FS_PATH="/f", FILE_STORAGE="fs"), "FILE_STORAGE_PATH") == Row(
        "FILE_STORAGE_PATH", "/f", "environment (FILE_FS_PATH)", "FILE_FS_PATH"
    )
    assert row(read(FILE_STORAGE_BACKEND="", FILE_STORAGE="fs"), "FILE_STORAGE_BACKEND").value == "local"
    assert row(read(RUST_LOG="x=info,3"), "LOG_LEVEL").source == "environment (RUST_LOG)"
    assert row(read(RUST_LOG="x=info"), "LOG_LEVEL").source == "default"
    assert row(read(RUST_LOG="debug", LOG_LEVEL="warn"), "LOG_LEVEL").source == "environment"


@pytest.mark.parametrize(
    "name",
    ["IDENTITY_HASH_KEY", "ENV_FILE", "LIMIT_FRAME_BYTES", "PPROF_ADDR", "ADMIN_TOKEN", "FILE_S3_REGION"]
    + [f"FEDERATION_{name}" for name in ("MAX_SPACES", "TRUSTED_KEYS", "TRUSTED_DOMAINS", "PEER_URLS")],
)
def test_what_is_as_good_as_unset_has_its_default(name: str) -> None:
    assert row(read(**{name: ""}), name).source == "default"


def test_what_is_set_and_has_no_effect_is_said_to_be_unused() -> None:
    assert row(read(FILE_S3_BUCKET="b"), "FILE_S3_BUCKET").source == "environment, not used"
    assert row(read(AUDIENCES=","), "AUDIENCES").source == "environment, not used"


def test_perf_mode_and_dev_mode_are_named_where_they_decide() -> None:
    assert row(read(PERF_MODE="1"), "LIMIT_CONNECTIONS_PER_MAILBOX") == Row(
        "LIMIT_CONNECTIONS_PER_MAILBOX", "unlimited", "PERF_MODE", None
    )
    dev = Settings.from_env({"AUDIENCES": "other"}, embedded=True)
    assert [(row(dev, name).value, row(dev, name).source) for name in ("AUDIENCES", "LISTEN_ADDR")] == [
        ("less-sync", "dev mode"),
        ("127.0.0.1:5379", "dev mode"),
    ]


SECRETS = {
    "IDENTITY_HASH_KEY": "ab" * 32,
    "ADMIN_TOKEN": "hunter2-hunter2-hunter2",
    "FILE_S3_SECRET_KEY": "hunter3",
    "FEDERATION_FST_SECRET": "hunter4" * 5,
    "FEDERATION_FST_PREVIOUS_SECRET": "hunter5" * 5,
}


def test_secrets_are_masked_and_their_length_with_them() -> None:
    settings = read(
        **S3_NEEDED
        | SECRETS
        | {
            "DATABASE_URL": "postgres://u:hunter6@db/sync?password=hunter7",
            "TRUSTED_ISSUERS": "http://u:hunter8@a=http://hunter9@b/j?api_key=hunter10&v=1",
        }
    )
    shown = "".join(str(asdict(one)) for one in rows(settings))
    assert "hunter" not in shown
    assert "ab" * 32 not in shown
    assert {row(settings, name).value for name in SECRETS} == {MASK}
    assert row(settings, "DATABASE_URL").value == f"postgres://u:{MASK}@db/sync?password={MASK}"
    assert (
        row(settings, "TRUSTED_ISSUERS").value
        == f"http://u:{MASK}@a=http://{MASK}@b/j?api_key={MASK}&v={MASK}"
    )
    assert "hunter4" in str(in_force(settings)["FEDERATION_FST_SECRET"])  # what reloads are compared by


def test_the_password_of_a_database_is_masked_whole_when_there_are_blanks_in_it() -> None:
    settings = read(DATABASE_URL="postgres://u:hunter two@db/sync?options=-capp.secret%3Dhunter")
    assert row(settings, "DATABASE_URL").value == f"postgres://u:{MASK}@db/sync?app.secret={MASK}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres:///sync?host=%2Frun&options=-c+a%3Db", "postgres:///sync?host=/run&options=-c+a%3Db"),
        ("postgres://u@[::1]:5,two/sync", "postgres://u@[::1]:5,two/sync"),
        ("postgres://u:p@w@h/db", "postgres://u:***@h/db"),
        ("postgres://u:12?x@h/db", "postgres://***"),
        ("postgres://u:12/x@h/db", "postgres://***"),
        ("postgres://h/db?user=a%40b", "postgres://***"),
        ("http://[::1", "***"),
        ("https://h/keys?sv=1&sig=hunter&x", "https://h/keys?sv=***&sig=***&x=***"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_password(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_the_rows_are_those_of_the_page_and_of_what_is_read() -> None:
    page = (ROOT / "docs/settings.md").read_text().partition("\n## Fleet plane\n")[0].splitlines()
    names = [line.split("|")[1].replace("`", "").split() for line in page if line.startswith("| `")]
    settings = read()
    assert sorted(one.name for one in rows(settings)) == sorted(first for first, *_ in names)
    assert {name for row in names for name in row} == settings.asked
