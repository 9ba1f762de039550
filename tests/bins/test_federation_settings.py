"""Settings of federation: what is read, every message, and what is warned of."""

import base64
from types import MappingProxyType

import pytest
from nacl.signing import SigningKey

from less_sync.federation.settings import FederationSettings, NoticesFrom
from tests.bins.environments import NEEDED, problem, problems, read

KEY = bytes(SigningKey(b"1" * 32).verify_key)
TEXT = base64.urlsafe_b64encode(KEY).decode().rstrip("=")
KID = "https://peer.example/.well-known/jwks.json#fed-1"
ENTRY = f"{KID}={TEXT}"
SECRET = "s" * 32


def federation(**env: str) -> FederationSettings:
    return read(**env).federation


def warnings(**env: str) -> list[str]:
    usual = read().warnings()
    return [one for one in read(**env).warnings() if one not in usual]


def test_an_empty_environment_trusts_nobody() -> None:
    settings = federation()
    assert settings == FederationSettings()
    assert (settings.trust.domains, settings.trust.keys) == ((), {})
    assert not settings.accepts_peers


def test_domains_are_canonical_sorted_and_each_once() -> None:
    settings = federation(
        FEDERATION_TRUSTED_DOMAINS=" Z.example, ,https://a.example:443/x,z.example.,b.example:8443 "
    )
    assert settings.trust.domains == ("a.example", "b.example:8443", "z.example")


@pytest.mark.parametrize("blank", [" ", "\n", "\t", " \n\t "])
def test_keys_stand_between_any_white_space_and_the_last_of_a_name_counts(blank: str) -> None:
    other = base64.urlsafe_b64encode(bytes(SigningKey(b"2" * 32).verify_key)).decode().rstrip("=")
    keys = blank.join(["", f"{KID}={other}", ENTRY, f"https://b.example:5379/x#k={other}", ""])
    settings = federation(FEDERATION_TRUSTED_KEYS=keys)
    assert settings.trust.keys[KID] == KEY
    assert len(settings.trust.keys) == 2
    assert settings.trust.domains == ("b.example", "peer.example")
    assert settings.accepts_peers


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("nothing", 'invalid FEDERATION_TRUSTED_KEYS entry "nothing"'),
        (f"peer.example={TEXT}", 'invalid federation key id "peer.example"'),
        (f"https://a@peer.example/#k={TEXT}", 'invalid federation key id "https://a@peer.example/#k"'),
        (f"https:///x#k={TEXT}", 'invalid federation key id "https:///x#k"'),
        (f"{KID}=", f'federation key for "{KID}" must be 32 bytes'),
        (f"{KID}=AAAA", f'federation key for "{KID}" must be 32 bytes'),
        (f"{KID}={'A' * 43}", f'invalid federation key bytes for "{KID}"'),
    ],
)
def test_a_key_that_is_none_is_told_by_name(keys: str, message: str) -> None:
    assert problem(FEDERATION_TRUSTED_KEYS=keys) == message


@pytest.mark.parametrize("text", [f"{TEXT}=", "*", f"{TEXT[:-1]}!"])
def test_a_key_that_is_no_unpadded_base64url_is_told_by_name_and_cause(text: str) -> None:
    told = problem(FEDERATION_TRUSTED_KEYS=f"{KID}={text}")
    assert told == (f'invalid federation key payload for "{KID}"\n\nCaused by:\n    not unpadded base64url')


def test_the_key_of_a_server_that_is_not_listed_is_refused() -> None:
    assert problem(FEDERATION_TRUSTED_KEYS=ENTRY, FEDERATION_TRUSTED_DOMAINS="other.example") == (
        'FEDERATION_TRUSTED_KEYS domain "peer.example" is not listed in FEDERATION_TRUSTED_DOMAINS'
    )


def test_domains_with_an_empty_list_of_keys_start_without_letting_anybody_in() -> None:
    settings = federation(FEDERATION_TRUSTED_DOMAINS="peer.example", FEDERATION_TRUSTED_KEYS="")
    assert settings.trust.domains == ("peer.example",)
    assert not settings.accepts_peers


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("-1", "invalid digit found in string"),
        ("1.5", "invalid digit found in string"),
        ("x", "invalid digit found in string"),
        ("18446744073709551616", "number too large to fit in target type"),
    ],
)
@pytest.mark.parametrize(
    "name",
    ["SPACES", "RECORDS_PER_HOUR", "BYTES_PER_HOUR", "INVITATIONS_PER_HOUR", "CONNECTIONS"],
)
def test_a_quota_is_a_positive_integer(name: str, raw: str, fault: str) -> None:
    variable = f"FEDERATION_MAX_{name}"
    assert problem(**{variable: f" {raw} "}) == f'invalid {variable} value "{raw}": {fault}'
    assert problem(**{variable: "0"}) == f"{variable} must be greater than zero"
    assert federation(**{variable: " "}) == FederationSettings()


def test_secrets_are_trimmed_text_and_blank_ones_are_none() -> None:
    settings = federation(FEDERATION_FST_SECRET=f" {SECRET}\n", FEDERATION_FST_PREVIOUS_SECRET=f"\t{SECRET}2")
    assert (settings.fst_secret, settings.fst_previous_secret) == (SECRET, f"{SECRET}2")
    settings = federation(FEDERATION_FST_SECRET=" ", FEDERATION_FST_PREVIOUS_SECRET="\n")
    assert (settings.fst_secret, settings.fst_previous_secret) == (None, None)


def test_the_same_secret_twice_is_refused_and_not_shown() -> None:
    told = problem(FEDERATION_FST_SECRET=SECRET, FEDERATION_FST_PREVIOUS_SECRET=f" {SECRET} ")
    assert told == "FEDERATION_FST_PREVIOUS_SECRET must differ from FEDERATION_FST_SECRET"


def test_secrets_and_keys_are_in_no_text_of_the_settings() -> None:
    settings = read(
        FEDERATION_FST_SECRET="the present one", FEDERATION_FST_PREVIOUS_SECRET="the previous one"
    )
    assert "present" not in f"{settings!r} {settings.warnings()}"
    assert "previous one" not in f"{settings!r} {settings.warnings()}"


@pytest.mark.parametrize(
    ("raw", "fetch"),
    [("static", False), ("False", False), ("JWKS", True), (" true ", True), ("", False), (" ", False)],
)
def test_keys_are_fetched_on_demand_if_asked(raw: str, fetch: bool) -> None:
    settings = federation(FEDERATION_KEY_DISCOVERY=raw, FEDERATION_TRUSTED_DOMAINS="peer.example")
    assert (settings.fetch_keys, settings.accepts_peers) == (fetch, fetch)


def test_fetching_keys_of_nobody_is_refused() -> None:
    message = "FEDERATION_KEY_DISCOVERY=jwks needs FEDERATION_TRUSTED_DOMAINS"
    assert problem(FEDERATION_KEY_DISCOVERY="jwks") == message
    assert problem(FEDERATION_KEY_DISCOVERY="jwks", FEDERATION_TRUSTED_DOMAINS=" , ") == message
    # Whoever's list is wrong is told that alone.
    assert "FEDERATION_TRUSTED_KEYS" in problem(FEDERATION_KEY_DISCOVERY="jwks", FEDERATION_TRUSTED_KEYS="?")


@pytest.mark.parametrize(
    ("raw", "domain"),
    [
        ("Sync.Example.", "sync.example"),
        ("sync.example:443", "sync.example"),
        (" 127.0.0.1:5379 ", "127.0.0.1:5379"),
        ("[::1]:5379", "[::1]:5379"),
        ("bücher.example", "xn--bcher-kva.example"),
        (" ", None),
    ],
)
def test_the_own_domain_is_host_and_port(raw: str, domain: str | None) -> None:
    assert federation(FEDERATION_DOMAIN=raw).domain == domain


@pytest.mark.parametrize("raw", ["https://sync.example", "a b", "sync.example:x", "user@sync.example", "a/b"])
def test_another_own_domain_is_refused(raw: str) -> None:
    told = f'invalid FEDERATION_DOMAIN value "{raw}": expected host or host:port'
    assert problem(FEDERATION_DOMAIN=raw) == told


@pytest.mark.parametrize(
    ("raw", "on"),
    [("true", True), ("1", True), (" YES ", True), ("on", True), ("false", False), ("?", False)],
)
def test_a_forwarded_scheme_is_believed_for_four_words_alone(raw: str, on: bool) -> None:
    assert federation(FEDERATION_TRUST_FORWARDED_PROTO=raw).trust_forwarded_proto is on


@pytest.mark.parametrize(
    ("raw", "host", "url"),
    [
        ("home.example=https://10.0.0.5:5379", "home.example", "wss://10.0.0.5:5379/api/v1/federation/ws"),
        ("home.example=http://h:80/", "home.example", "ws://h/api/v1/federation/ws"),
        ("home.example=ws://h:443", "home.example", "ws://h:443/api/v1/federation/ws"),
        ("home.example=wss://H.Example.:443/custom?a=b=c", "home.example", "wss://h.example/custom?a=b=c"),
        ("Home.Example:8443=ws://[::1]:5379", "home.example", "ws://[::1]:5379/api/v1/federation/ws"),
        ("[::1]:5379=wss://h", "::1", "wss://h/api/v1/federation/ws"),
    ],
)
def test_a_peer_is_dialled_where_the_operator_says(raw: str, host: str, url: str) -> None:
    assert federation(FEDERATION_PEER_URLS=f"\n{raw}\t") == FederationSettings(peer_urls={host: url})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("home.example", "invalid FEDERATION_PEER_URLS entry: expected domain=url"),
        ("=ws://h", "invalid FEDERATION_PEER_URLS entry: expected domain=url"),
        ("u:secret@h=ws://h", "invalid FEDERATION_PEER_URLS entry: expected domain=url"),
        ("a.example=ws://h a.example:1=ws://h", 'FEDERATION_PEER_URLS names "a.example" twice'),
    ],
)
def test_an_entry_that_names_no_peer_is_refused(raw: str, message: str) -> None:
    assert problem(FEDERATION_PEER_URLS=raw) == message


@pytest.mark.parametrize(
    "url", ["h", "ftp://h", "ws://", "ws://u:secret@h", "ws://h:0", "ws://h:x", "ws://h#f", "ws://h|"]
)
def test_what_is_no_url_of_a_server_is_refused_and_not_shown(url: str) -> None:
    told = 'invalid FEDERATION_PEER_URLS entry for "a.example": expected a ws, wss, http or https URL'
    assert problem(FEDERATION_PEER_URLS=f"a.example={url}") == told


def test_schemes_are_tried_in_the_order_given() -> None:
    assert federation(FEDERATION_SIGN_SCHEMES=" HTTPS, ws,https ").sign_schemes == ("https", "ws")
    assert federation(FEDERATION_SIGN_SCHEMES=" ").sign_schemes is None


@pytest.mark.parametrize("raw", ["ftp", ",", "ws;wss"])
def test_other_schemes_are_refused(raw: str) -> None:
    told = problem(FEDERATION_SIGN_SCHEMES=raw)
    assert (
        told
        == f'invalid FEDERATION_SIGN_SCHEMES value "{raw}": expected some of "ws", "wss", "http", "https"'
    )


def test_the_other_settings_are_read() -> None:
    settings = federation(
        FEDERATION_INBOUND_NOTIFICATIONS="Subscribed",
        FEDERATION_ALLOW_PRIVATE_NETWORKS="yes",
        FEDERATION_KEY_RELOAD_SECONDS="0",
        FST_MAX_EXPIRY="60",
    )
    assert settings.notices_from is NoticesFrom.SUBSCRIBED
    assert settings.private_networks
    assert (settings.key_reload_s, settings.fst_life_s_max) == (0, 60)
    blank = federation(
        FEDERATION_INBOUND_NOTIFICATIONS=" ",
        FEDERATION_ALLOW_PRIVATE_NETWORKS="",
        FEDERATION_KEY_RELOAD_SECONDS=" ",
        FST_MAX_EXPIRY="",
    )
    assert blank == FederationSettings()


def test_what_they_cannot_be_is_told_in_their_order() -> None:
    told = problems(
        NEEDED
        | {
            "FST_MAX_EXPIRY": "86401",
            "FEDERATION_KEY_RELOAD_SECONDS": "-1",
            "FEDERATION_ALLOW_PRIVATE_NETWORKS": "perhaps",
            "FEDERATION_INBOUND_NOTIFICATIONS": "all",
            "FEDERATION_KEY_DISCOVERY": "dns",
        }
    )
    assert told == [
        'invalid FEDERATION_KEY_DISCOVERY value "dns": expected one of "static", "false", "jwks", "true"',
        'invalid FEDERATION_INBOUND_NOTIFICATIONS value "all": expected one of "home", "subscribed", "off"',
        'invalid FEDERATION_ALLOW_PRIVATE_NETWORKS value "perhaps": expected "true" or "false"',
        'invalid FEDERATION_KEY_RELOAD_SECONDS value "-1": invalid digit found in string',
        "FST_MAX_EXPIRY must not exceed 86400",
    ]


WARNINGS = MappingProxyType(
    {
        "federation is off: FEDERATION_TRUSTED_DOMAINS is set, and neither FEDERATION_TRUSTED_KEYS nor "
        "FEDERATION_KEY_DISCOVERY=jwks": {"FEDERATION_TRUSTED_DOMAINS": "peer.example"},
        "FEDERATION_FST_PREVIOUS_SECRET is ignored: FEDERATION_FST_SECRET is not set": {
            "FEDERATION_FST_PREVIOUS_SECRET": SECRET
        },
        "FEDERATION_FST_SECRET is shorter than 32 bytes": {"FEDERATION_FST_SECRET": SECRET[1:]},
        'no key of FEDERATION_TRUSTED_KEYS matches "other.example:5379" of FEDERATION_TRUSTED_DOMAINS': {
            "FEDERATION_TRUSTED_KEYS": ENTRY,
            "FEDERATION_TRUSTED_DOMAINS": "peer.example:443,other.example:5379,third.example",
        },
        'no key of FEDERATION_TRUSTED_KEYS matches "peer.example:5379" of FEDERATION_TRUSTED_DOMAINS': {
            "FEDERATION_TRUSTED_KEYS": ENTRY,
            "FEDERATION_TRUSTED_DOMAINS": "peer.example,peer.example:5379",
        },
        'no key of FEDERATION_TRUSTED_KEYS matches "h?x=1" of FEDERATION_TRUSTED_DOMAINS': {
            "FEDERATION_TRUSTED_KEYS": ENTRY,
            "FEDERATION_TRUSTED_DOMAINS": "peer.example,h?x=1",
        },
    }
)


@pytest.mark.parametrize("warning", WARNINGS)
def test_what_does_not_fit_together_is_one_warning(warning: str) -> None:
    assert warnings(**WARNINGS[warning]) == [warning]


def test_what_fits_together_is_none() -> None:
    assert (
        warnings(
            FEDERATION_TRUSTED_KEYS=f"{ENTRY} https://b.example:5379/x#k={TEXT}",
            FEDERATION_TRUSTED_DOMAINS="peer.example,b.example:5379,c.example",
            FEDERATION_FST_SECRET=SECRET,
            FEDERATION_FST_PREVIOUS_SECRET=f"{SECRET}2",
        )
        == []
    )
    fetching = {
        "FEDERATION_KEY_DISCOVERY": "jwks",
        "FEDERATION_TRUSTED_DOMAINS": "peer.example,b.example:5379",
    }
    assert warnings(**fetching) == []
