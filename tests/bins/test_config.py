"""Every setting: defaults, forms, exact messages, and the order in which problems are told."""

import itertools
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import JwksPolicy, Permission
from less_sync.bins.settings.config import LogSettings, Settings
from less_sync.bins.settings.parts import DEV_ADDRESS, ListenAddress
from less_sync.bins.settings.slips import one_slip_apart, slips
from less_sync.federation.settings import FederationSettings, PeerQuotas
from less_sync.sync.limits import Limits
from tests.bins.environments import NEEDED, S3_NEEDED, problem, problems, read

ROOT = Path(__file__).parents[2]


def test_defaults_are_the_documented_ones() -> None:
    settings = read()
    assert settings.listen == ListenAddress("0.0.0.0", 5379)
    assert settings.database.url == "postgres://db/sync"
    assert (settings.database.connections_max, settings.database.push_lanes) == (10, 2)
    assert settings.issuers.plain == {
        "https://accounts.example.com": "https://accounts.example.com/.well-known/jwks.json"
    }
    assert settings.token_policy.audiences == frozenset()
    assert settings.token_policy.require_exp
    assert settings.token_policy.personal_space_check == "claim"
    assert settings.jwks_policy == JwksPolicy(ttl_s=3600, stale_max_s=86_400)
    assert not settings.enforce_token_expiry
    assert (settings.files.backend, settings.files.directory) == ("none", Path("data/files"))
    assert settings.files.s3 is None
    assert (settings.files.bytes_max, settings.files.orphan_sweep_interval_s) == (104_857_600, None)
    assert settings.identity_hash_key is None
    assert settings.federation == FederationSettings(quotas=PeerQuotas(1000, 10_000, 524_288_000, 100, 3))
    assert settings.limits == Limits()
    assert not settings.perf_mode
    assert settings.subprotocols == ("betterbase-rpc-v1", "less-rpc-v1")
    assert not settings.cors_expose_etag
    assert (settings.maintenance_interval_s, settings.shutdown_grace_s) == (600, 8)
    assert settings.log == LogSettings("info", "text")
    assert settings.data_dir == Path("data")
    assert not settings.dev


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (" [::1]:0 ", "::1", 0),
        (":5379", "", 5379),
        ("sync.internal:65535", "sync.internal", 65_535),
    ],
)
def test_listen_address_takes_all_its_forms(raw: str, host: str, port: int) -> None:
    assert read(LISTEN_ADDR=raw).listen == ListenAddress(host, port)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        "5379",
        "127.0.0.1",
        "::1:5379",
        "[127.0.0.1]:1",
        "[::1]5379",
        "h:65536",
        "h:+1",
        "h:",
        "256.1.1.1:1",
    ],
)
def test_another_listen_address_is_refused_by_name(raw: str) -> None:
    assert problem(LISTEN_ADDR=raw) == f'invalid LISTEN_ADDR "{raw}": invalid socket address syntax'


def test_values_in_messages_are_quoted_and_escaped() -> None:
    message = problem(LISTEN_ADDR='a"b\\c\n\x07')
    assert message == r'invalid LISTEN_ADDR "a\"b\\c\n\u{7}": invalid socket address syntax'


def test_database_url_and_issuers_must_be_set_and_are_told_in_order() -> None:
    assert problems({}) == ["DATABASE_URL must be set", "TRUSTED_ISSUERS must be set"]


@pytest.mark.parametrize(
    "raw",
    [
        "postgresql://u:p%40w@[::1]:5432/sync?sslmode=require&search_path=tenant",
        "postgres:///sync?host=%2Frun%2Fpostgresql",
        "postgres://one:5432,two:5433/sync",
    ],
)
def test_a_database_url_that_the_driver_takes_is_passed_on_unchanged(raw: str) -> None:
    assert read(DATABASE_URL=raw).database.url == raw


def test_a_database_url_of_an_existing_server_becomes_one_that_the_driver_takes() -> None:
    raw = "postgres://db/sync?ssl-mode=require&options=-csearch_path%3Dtenant&pool_max_conns=9"
    assert read(DATABASE_URL=raw).database.url == "postgres://db/sync?sslmode=require&search_path=tenant"
    message = "database error: error with configuration: relative URL without a base"
    assert problem(DATABASE_URL="localhost/sync") == message


def test_an_explicit_key_set_url_is_used_verbatim() -> None:
    settings = read(TRUSTED_ISSUERS="http://localhost:25377/=http://accounts:5377/.well-known/jwks.json?a=b")
    assert settings.issuers.plain == {
        "http://localhost:25377": "http://accounts:5377/.well-known/jwks.json?a=b"
    }


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "TRUSTED_ISSUERS must be set"),
        (" \t", "TRUSTED_ISSUERS must be set"),
        ("accounts", 'invalid issuer URL "accounts": relative URL without a base'),
        ("ftp://a", 'invalid issuer URL "ftp://a": must use http or https'),
        ("https://a=b", 'invalid jwks_url URL "b": relative URL without a base'),
        ("https://a=ftp://b", 'invalid jwks_url URL "ftp://b": must use http or https'),
        ("https://a:x", 'invalid issuer URL "https://a:x": invalid port number'),
        ("https://", 'invalid issuer URL "https://": empty host'),
    ],
)
def test_unusable_issuers_are_refused(raw: str, message: str) -> None:
    assert problem(TRUSTED_ISSUERS=raw) == message


def test_audiences_are_split_trimmed_and_empties_dropped() -> None:
    assert read(AUDIENCES=" less-sync, ,betterbase-sync,").token_policy.audiences == {
        "less-sync",
        "betterbase-sync",
    }
    assert read(AUDIENCES=" , ").token_policy.audiences == frozenset()


def test_identity_hash_key_is_32_bytes_of_hex_in_either_case() -> None:
    assert read(IDENTITY_HASH_KEY=f" {'aB' * 32}\n").identity_hash_key == b"\xab" * 32
    assert read(IDENTITY_HASH_KEY=" ").identity_hash_key is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("zz", "IDENTITY_HASH_KEY must be valid hex"),
        ("abc", "IDENTITY_HASH_KEY must be valid hex"),
        ("ab cd", "IDENTITY_HASH_KEY must be valid hex"),
        ("ab" * 31, "IDENTITY_HASH_KEY must be 64 hex characters (32 bytes), got 31 bytes"),
    ],
)
def test_another_identity_hash_key_is_refused(raw: str, message: str) -> None:
    assert problem(IDENTITY_HASH_KEY=raw) == message


COUNTS = [
    "FEDERATION_MAX_SPACES",
    "FEDERATION_MAX_RECORDS_PER_HOUR",
    "FEDERATION_MAX_BYTES_PER_HOUR",
    "FEDERATION_MAX_INVITATIONS_PER_HOUR",
    "FEDERATION_MAX_CONNECTIONS",
    "MAX_RECORD_BLOB_SIZE",
    "MAX_FILE_SIZE",
    "DATABASE_MAX_CONNECTIONS",
    "SHUTDOWN_GRACE_SECONDS",
    "MAINTENANCE_INTERVAL_SECONDS",
    "FILE_ORPHAN_SWEEP_SECONDS",
    "JWKS_REFRESH_TTL",
    "JWKS_MAX_STALE",
    "PUSH_LANES",
    "LIMIT_FRAME_BYTES",
]


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_a_positive_integer_in_digits(name: str) -> None:
    read(**{name: " +12 "})
    read(**{name: " "})
    assert problem(**{name: " 1x "}) == f'invalid {name} value "1x": invalid digit found in string'
    assert problem(**{name: "-1"}) == f'invalid {name} value "-1": invalid digit found in string'
    too_large = f'invalid {name} value "{2**64}": number too large to fit in target type'
    assert problem(**{name: str(2**64)}) == too_large
    assert problem(**{name: "0"}) == f"{name} must be greater than zero"


def test_all_five_quotas_apply() -> None:
    values = dict(zip(COUNTS[:5], "54321", strict=True))
    assert read(**values).federation.quotas == PeerQuotas(5, 4, 3, 2, 1)


def test_a_file_limit_above_five_gibibytes_is_refused() -> None:
    assert read(MAX_FILE_SIZE="5368709120").files.bytes_max == 5_368_709_120
    assert problem(MAX_FILE_SIZE="5368709121") == "MAX_FILE_SIZE must not exceed 5368709120"


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_is_a_setting(limit: Any) -> None:
    name = "MAX_RECORD_BLOB_SIZE" if limit.name == "record_blob_bytes" else f"LIMIT_{limit.name.upper()}"
    raw, value = {bool: ("on", True), int: ("7", 7), float: ("0.25", 0.25)}[limit.type]
    assert getattr(read(**{name: raw}).limits, limit.name) == value
    assert name in problem(**{name: "x"})


def test_a_person_may_have_sixteen_connections_and_an_operator_may_say_three() -> None:
    assert read().limits.connections_per_mailbox == 16
    assert read(LIMIT_CONNECTIONS_PER_MAILBOX="3").limits.connections_per_mailbox == 3


def test_seconds_and_fractions_have_bounds_of_their_own() -> None:
    assert problem(LIMIT_LIFETIME_S="0") == "LIMIT_LIFETIME_S must be greater than zero"
    assert problem(LIMIT_LIFETIME_JITTER="1") == "LIMIT_LIFETIME_JITTER must be less than one"
    assert read(LIMIT_LIFETIME_JITTER="0").limits.lifetime_jitter == 0
    for raw in ("1e3", "inf", "-1", ".5", "1.2.3", "9" * 10):
        expected = f'invalid LIMIT_LIFETIME_S value "{raw}": expected a number such as 30 or 0.5'
        assert problem(LIMIT_LIFETIME_S=raw) == expected


@pytest.mark.parametrize(
    "name",
    ["PERF_MODE", "CORS_EXPOSE_ETAG", "REQUIRE_TOKEN_EXP", "WS_ENFORCE_TOKEN_EXPIRY", "LIMIT_STRICT_DEK"],
)
def test_a_switch_takes_words_and_digits_but_nothing_else(name: str) -> None:
    for raw in ("1", "TRUE", "yes", "On", "0", "false", "No", "off"):
        read(**{name: raw})
    assert problem(**{name: "maybe"}) == f'invalid {name} value "maybe": expected "true" or "false"'
    assert problem(**{name: ""}) == f'invalid {name} value "": expected "true" or "false"'


def _changed(limits: Limits) -> dict[str, object]:
    now = {f.name: getattr(limits, f.name) for f in fields(Limits)}
    return {name: value for name, value in now.items() if value != getattr(Limits(), name)}


def test_perf_mode_lifts_the_connections_of_a_mailbox_and_what_one_person_may_do() -> None:
    changed = _changed(read(PERF_MODE="1").limits)
    assert changed.keys() == {
        "connections_per_mailbox",
        "invitations_per_window",
        "membership_appends_per_window",
    }
    assert all(isinstance(value, int) and value > 1_000_000 for value in changed.values())


def test_dev_mode_lets_one_person_do_a_thousand_things_an_hour_unless_told_otherwise() -> None:
    assert _changed(Settings.from_env({}, embedded=True).limits) == {
        "invitations_per_window": 1000,
        "membership_appends_per_window": 1000,
    }
    told = Settings.from_env({"LIMIT_INVITATIONS_PER_WINDOW": "3"}, embedded=True).limits
    assert told.invitations_per_window == 3


def test_admin_operations_take_admin_unless_writers_are_let_in() -> None:
    assert read().admin_operations is Permission.ADMIN
    assert read(ADMIN_OPS_PERMISSION="write").admin_operations is Permission.WRITE
    assert "ADMIN_OPS_PERMISSION" in problem(ADMIN_OPS_PERMISSION="read")


@pytest.mark.parametrize(
    ("env", "level"),
    [
        ({"LOG_LEVEL": "WARN"}, "warn"),
        ({"LOG_LEVEL": "off", "RUST_LOG": "trace"}, "off"),
        ({"RUST_LOG": "Debug"}, "debug"),
        ({"RUST_LOG": "0"}, "off"),
        ({"RUST_LOG": "5"}, "trace"),
        ({"RUST_LOG": "sqlx=warn,error,sync=trace"}, "error"),
        ({"RUST_LOG": "sync=trace"}, "info"),
        ({"RUST_LOG": "6"}, "info"),
        ({"RUST_LOG": ""}, "info"),
    ],
)
def test_the_log_level_falls_back_to_the_global_one_of_rust_log(env: dict[str, str], level: str) -> None:
    assert read(**env).log.level == level


def test_log_settings_outside_their_choices_are_refused() -> None:
    levels = '"off", "error", "warn", "info", "debug", "trace"'
    assert problem(LOG_LEVEL="") == f'invalid LOG_LEVEL value "": expected one of {levels}'
    assert problem(LOG_LEVEL="loud") == f'invalid LOG_LEVEL value "loud": expected one of {levels}'
    assert problem(LOG_FORMAT="xml") == 'invalid LOG_FORMAT value "xml": expected one of "text", "json"'
    assert read(LOG_FORMAT="JSON").log.form == "json"


def test_token_settings_are_read() -> None:
    settings = read(
        REQUIRE_TOKEN_EXP="false",
        PERSONAL_SPACE_CHECK="derive",
        JWKS_REFRESH_TTL="60",
        JWKS_MAX_STALE="120",
        WS_ENFORCE_TOKEN_EXPIRY="true",
    )
    assert not settings.token_policy.require_exp
    assert settings.token_policy.personal_space_check == "derive"
    assert (settings.jwks_policy.ttl_s, settings.jwks_policy.stale_max_s) == (60, 120)
    assert settings.enforce_token_expiry
    expected = 'invalid PERSONAL_SPACE_CHECK value "x": expected one of "claim", "derive"'
    assert problem(PERSONAL_SPACE_CHECK="x") == expected


def test_subprotocols_can_be_restricted_and_reordered_but_not_invented() -> None:
    assert read(SUBPROTOCOLS="less-rpc-v1 , ").subprotocols == ("less-rpc-v1",)
    assert read(SUBPROTOCOLS="less-rpc-v1,betterbase-rpc-v1").subprotocols[0] == "less-rpc-v1"
    for raw in ("", ",", "less-rpc-v2"):
        expected = 'expected one or both of "betterbase-rpc-v1" and "less-rpc-v1"'
        assert problem(SUBPROTOCOLS=raw) == f'invalid SUBPROTOCOLS value "{raw}": {expected}'


def test_an_empty_data_directory_is_refused() -> None:
    assert problem(DATA_DIR="") == "DATA_DIR must not be empty"


def test_a_value_that_is_not_unicode_counts_as_unset() -> None:
    assert read(LISTEN_ADDR="\udcff:1").listen.port == 5379
    assert problems(NEEDED | {"DATABASE_URL": "postgres://\udcff"}) == ["DATABASE_URL must be set"]


def test_unknown_variables_are_ignored() -> None:
    assert read(SPACE_SESSION_SECRET="s", FEDERATION_DOMAIN="", NO_SUCH_SETTING="x") == read()


def test_all_problems_are_told_in_the_order_in_which_they_are_read() -> None:
    told = problems(
        {
            "LIMIT_FRAME_BYTES": "0",
            "CORS_EXPOSE_ETAG": "?",
            "LOG_LEVEL": "?",
            "SHUTDOWN_GRACE_SECONDS": "0",
            "MAX_RECORD_BLOB_SIZE": "0",
            "FEDERATION_MAX_CONNECTIONS": "0",
            "FEDERATION_MAX_SPACES": "0",
            "FEDERATION_MAX_RECORDS_PER_HOUR": "0",
            "FEDERATION_MAX_BYTES_PER_HOUR": "0",
            "FEDERATION_MAX_INVITATIONS_PER_HOUR": "0",
            "FEDERATION_TRUSTED_KEYS": "?",
            "FEDERATION_DOMAIN": "?",
            "IDENTITY_HASH_KEY": "x",
            "FILE_STORAGE": "s3",
            "FILE_S3_USE_SSL": "?",
            "FILE_S3_BUCKET": "",
            "FILE_S3_ACCESS_KEY": " ",
            "FILE_S3_ENDPOINT": "not a host",
            "TRUSTED_ISSUERS": "",
            "DATABASE_URL": "",
            "LISTEN_ADDR": "",
        }
    )
    names = [
        "LISTEN_ADDR",
        "database error",
        "TRUSTED_ISSUERS",
        "FILE_S3_ACCESS_KEY",
        "FILE_S3_SECRET_KEY",
        "FILE_S3_BUCKET",
        "FILE_S3_USE_SSL",
        "FILE_S3_ENDPOINT",
        "IDENTITY_HASH_KEY",
        "FEDERATION_MAX_SPACES",
        "FEDERATION_MAX_RECORDS_PER_HOUR",
        "FEDERATION_MAX_BYTES_PER_HOUR",
        "FEDERATION_MAX_INVITATIONS_PER_HOUR",
        "FEDERATION_MAX_CONNECTIONS",
        "FEDERATION_TRUSTED_KEYS",
        "FEDERATION_DOMAIN",
        "MAX_RECORD_BLOB_SIZE",
        "SHUTDOWN_GRACE_SECONDS",
        "LOG_LEVEL",
        "CORS_EXPOSE_ETAG",
        "LIMIT_FRAME_BYTES",
    ]
    assert [name in message for name, message in zip(names, told, strict=True)] == [True] * len(names)


def test_serve_alone_needs_nothing_and_is_in_dev_mode_on_loopback() -> None:
    settings = Settings.from_env({}, embedded=True)
    assert settings.dev
    assert settings.database.url is None
    assert settings.listen == DEV_ADDRESS
    assert settings.issuers.plain == {}
    assert settings.token_policy.audiences == {"less-sync"}
    assert settings.warnings() == []


def test_issuers_with_the_embedded_database_are_no_dev_mode() -> None:
    settings = Settings.from_env({"TRUSTED_ISSUERS": "https://a"}, embedded=True)
    assert not settings.dev
    assert settings.listen == ListenAddress("0.0.0.0", 5379)


def test_a_database_url_without_issuers_is_an_error_unless_dev_mode_is_asked_for() -> None:
    env = {"DATABASE_URL": "postgres://db/sync"}
    assert problems(env, embedded=True) == ["TRUSTED_ISSUERS must be set"]
    assert Settings.from_env(env, embedded=True, dev=True).dev


def test_variables_that_are_set_but_empty_are_no_invitation_to_dev_mode() -> None:
    relative = "database error: error with configuration: relative URL without a base"
    assert problems({"TRUSTED_ISSUERS": ""}, embedded=True) == ["TRUSTED_ISSUERS must be set"]
    assert problems({"DATABASE_URL": ""}, embedded=True) == [relative, "TRUSTED_ISSUERS must be set"]


def test_dev_mode_and_trusted_issuers_exclude_each_other() -> None:
    expected = "dev mode has an issuer of its own: unset TRUSTED_ISSUERS or leave out --dev"
    assert problems(NEEDED, dev=True) == [expected]


@pytest.mark.parametrize("raw", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:5379", "localhost:5379"])
def test_dev_mode_listens_on_any_loopback_address(raw: str) -> None:
    assert str(Settings.from_env({"LISTEN_ADDR": raw}, embedded=True).listen) == raw


@pytest.mark.parametrize("raw", ["0.0.0.0:5379", ":5379", "[::]:5379", "10.0.0.1:5379", "laptop:5379"])
def test_dev_mode_refuses_an_address_other_machines_can_reach(raw: str) -> None:
    (message,) = problems({"LISTEN_ADDR": raw}, embedded=True)
    assert message.startswith(f'dev mode listens on loopback only, not on "{raw}": set TRUSTED_ISSUERS')


def test_what_starts_but_deserves_a_word_is_a_warning() -> None:
    assert read().warnings() == [
        "rate limiting is disabled: IDENTITY_HASH_KEY is not set",
        "token audiences are not checked: AUDIENCES is not set",
    ]
    quiet = {"IDENTITY_HASH_KEY": "ab" * 32, "AUDIENCES": "less-sync"}
    assert read(**quiet).warnings() == []
    assert read(**quiet, MAX_RECORD_BLOB_SIZE="4194305", PERF_MODE="true").warnings() == [
        "MAX_RECORD_BLOB_SIZE is above the limit of a WebSocket message, 4194304 bytes",
        "perf mode enabled: connection and rate limits are off",
    ]
    default = str(read(**quiet).limits.record_blob_bytes)
    assert len(read(**quiet, MAX_RECORD_BLOB_SIZE=default).warnings()) == 1
    assert read(**quiet, MAX_RECORD_BLOB_SIZE="4194304").warnings() == []
    assert read(**quiet, MAX_RECORD_BLOB_SIZE="9000000", LIMIT_FRAME_BYTES="9000001").warnings() == []


def test_names_that_look_like_a_slip_are_warned_of() -> None:
    quiet = {"IDENTITY_HASH_KEY": "ab" * 32, "AUDIENCES": "less-sync"}
    told = read(
        **quiet,
        LIMIT_FRAME_BYTE="1",
        LIMIT_NODES="1",
        LISTEN_ADRD="x",
        LOG_LEVELS="x",
        PUSH_LINES="x",
        DATA_DIRECTORY="x",
        less_sync_user="x",
        RUST_LOG="info",
    ).warnings()
    assert told == [
        "unknown variable LIMIT_FRAME_BYTE is ignored: LIMIT_FRAME_BYTES is the nearest setting",
        "unknown variable LIMIT_NODES is ignored: there is no limit of this name",
        "unknown variable LISTEN_ADRD is ignored: LISTEN_ADDR is the nearest setting",
        "unknown variable LOG_LEVELS is ignored: LOG_LEVEL is the nearest setting",
        "unknown variable PUSH_LINES is ignored: PUSH_LANES is the nearest setting",
    ]


def test_a_strange_environment_cannot_fill_the_log() -> None:
    assert len(slips([f"LIMIT_{n}" for n in range(1000)], {"PUSH_LANES"})) == 20
    assert slips(["LIMIT_" + "X" * 100_000], {"PUSH_LANES"}) == []


def edit_distance(one: str, other: str) -> int:
    """The textbook's table, with swaps of neighbours (optimal string alignment)."""
    table = {(i, -1): i + 1 for i in range(-1, len(one))} | {(-1, j): j + 1 for j in range(len(other))}
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            ways = [table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (mine != theirs)]
            if i and j and mine == other[j - 1] and one[i - 1] == theirs:
                ways.append(table[i - 2, j - 2] + 1)
            table[i, j] = min(ways)
    return table[len(one) - 1, len(other) - 1]


@given(one=st.text("AB_", max_size=6), other=st.text("AB_", max_size=6))
def test_one_slip_is_an_edit_distance_of_one(one: str, other: str) -> None:
    assert one_slip_apart(one, other) == (edit_distance(one, other) == 1)


def test_secrets_are_not_shown_by_repr() -> None:
    settings = read(DATABASE_URL="postgres://u:hunter2@db/sync", IDENTITY_HASH_KEY="ab" * 32)
    shown = repr(settings)
    assert "hunter2" not in shown
    assert "accounts.example.com" not in shown
    assert repr(b"\xab" * 32) not in shown


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, {"embedded": True}),
        (NEEDED | {"LOG_LEVEL": "info", "FILE_STORAGE_BACKEND": "local"}, {}),
        (NEEDED | S3_NEEDED, {}),
    ],
)
def test_every_mode_asks_for_every_setting_so_that_none_is_taken_for_a_slip(
    env: Mapping[str, str], mode: dict[str, bool]
) -> None:
    usual, other = read(), Settings.from_env(env, **mode)
    assert other.slips == ()
    assert other.asked == usual.asked
    assert [pair for pair in itertools.combinations(sorted(usual.asked), 2) if one_slip_apart(*pair)] == []
