"""Settings of federation (docs/settings.md). Of all of them blank is the same as unset."""

from collections.abc import Mapping
from typing import Final

from less_sync.auth import (
    FST_LIFE_S_MAX,
    FederationTrust,
    InvalidKeyId,
    MalformedText,
    key_id_server,
    parse_federation_trust,
    parse_server_name,
)
from less_sync.bins.errors import with_causes
from less_sync.bins.settings.reader import TRUE_WORDS, SettingsReader, quoted
from less_sync.federation.peer_urls import parse_peer_urls
from less_sync.federation.settings import FederationSettings, NoticesFrom, PeerQuotas

SECRET_BYTES_MIN: Final = 32
"""Below that a secret is warned of: who guesses it makes tokens of his own."""
RELOAD_S_MAX: Final = 31_536_000

_SCHEMES: Final = ("ws", "wss", "http", "https")
_DISCOVERY: Final = {"static": False, "false": False, "jwks": True, "true": True}


def read_federation(reader: SettingsReader) -> FederationSettings:
    """Every variable of federation: quotas, trusted domains and keys, then what no existing server has."""
    # One statement per part: the order in which they stand is the order of the messages.
    quotas = _quotas(reader)
    trust = _trust(reader)
    secret, previous = _secrets(reader)
    domain = _domain(reader)
    fetch_keys = _fetch_keys(reader, trust)
    trust = trust or FederationTrust()
    trust_forwarded_proto = (reader.trimmed("FEDERATION_TRUST_FORWARDED_PROTO") or "").lower() in TRUE_WORDS
    peer_urls = _peer_urls(reader)
    sign_schemes = _sign_schemes(reader)
    notices_from = NoticesFrom(
        reader.choice_or_blank("FEDERATION_INBOUND_NOTIFICATIONS", NoticesFrom.HOME, tuple(NoticesFrom))
    )
    private_networks = reader.trimmed("FEDERATION_ALLOW_PRIVATE_NETWORKS") is not None and reader.flag(
        "FEDERATION_ALLOW_PRIVATE_NETWORKS", False
    )
    return FederationSettings(
        domain=domain,
        trust=trust,
        fetch_keys=fetch_keys,
        trust_forwarded_proto=trust_forwarded_proto,
        peer_urls=peer_urls,
        sign_schemes=sign_schemes,
        notices_from=notices_from,
        private_networks=private_networks,
        key_reload_s=reader.count("FEDERATION_KEY_RELOAD_SECONDS", 60, at_least=0, at_most=RELOAD_S_MAX),
        fst_secret=secret,
        fst_previous_secret=previous,
        fst_life_s_max=reader.count("FST_MAX_EXPIRY", FST_LIFE_S_MAX, at_most=FST_LIFE_S_MAX),
        quotas=quotas,
    )


def _quotas(reader: SettingsReader) -> PeerQuotas:
    defaults = PeerQuotas()
    return PeerQuotas(
        spaces=reader.count("FEDERATION_MAX_SPACES", defaults.spaces),
        records_per_hour=reader.count("FEDERATION_MAX_RECORDS_PER_HOUR", defaults.records_per_hour),
        bytes_per_hour=reader.count("FEDERATION_MAX_BYTES_PER_HOUR", defaults.bytes_per_hour),
        invitations_per_hour=reader.count(
            "FEDERATION_MAX_INVITATIONS_PER_HOUR", defaults.invitations_per_hour
        ),
        connections=reader.count("FEDERATION_MAX_CONNECTIONS", defaults.connections),
    )


def _trust(reader: SettingsReader) -> FederationTrust | None:
    """None: there is something wrong with it, which has been told."""
    domains = reader.text_or_blank("FEDERATION_TRUSTED_DOMAINS")
    keys = reader.text_or_blank("FEDERATION_TRUSTED_KEYS")
    try:
        return parse_federation_trust(domains=domains, keys=keys)
    except ValueError as error:
        causes = [] if error.__cause__ is None else [str(error.__cause__)]
        reader.problems.append(with_causes(str(error), causes))
        return None


def _secrets(reader: SettingsReader) -> tuple[str | None, str | None]:
    secret = reader.trimmed("FEDERATION_FST_SECRET")
    previous = reader.trimmed("FEDERATION_FST_PREVIOUS_SECRET")
    if secret is not None and secret == previous:
        reader.problems.append("FEDERATION_FST_PREVIOUS_SECRET must differ from FEDERATION_FST_SECRET")
    return secret, previous


def _domain(reader: SettingsReader) -> str | None:
    raw = reader.trimmed("FEDERATION_DOMAIN")
    if raw is None:
        return None
    try:
        server = None if "/" in raw else parse_server_name(raw)
    except MalformedText:
        server = None
    if server is None:
        reader.reject("FEDERATION_DOMAIN", raw, "expected host or host:port")
        return None
    return str(server)


def _fetch_keys(reader: SettingsReader, trust: FederationTrust | None) -> bool:
    name = "FEDERATION_KEY_DISCOVERY"
    fetch = _DISCOVERY[reader.choice_or_blank(name, "static", tuple(_DISCOVERY))]
    if fetch and trust is not None and not trust.domains:
        reader.problems.append(f"{name}=jwks needs FEDERATION_TRUSTED_DOMAINS")
    return fetch


def _peer_urls(reader: SettingsReader) -> Mapping[str, str]:
    try:
        return parse_peer_urls((reader.text_or_blank("FEDERATION_PEER_URLS") or "").split())
    except ValueError as error:
        reader.problems.append(str(error))
        return {}


def _sign_schemes(reader: SettingsReader) -> tuple[str, ...] | None:
    raw = reader.trimmed("FEDERATION_SIGN_SCHEMES")
    if raw is None:
        return None
    schemes = tuple(dict.fromkeys(item.strip().lower() for item in raw.split(",") if item.strip()))
    if not schemes or not set(schemes) <= set(_SCHEMES):
        listed = ", ".join(quoted(scheme) for scheme in _SCHEMES)
        reader.reject("FEDERATION_SIGN_SCHEMES", raw, f"expected some of {listed}")
        return None
    return schemes


def federation_warnings(settings: FederationSettings) -> list[str]:
    """What does not fit together, though the server does start; one line each."""
    found = []
    trust = settings.trust
    if trust.domains and not settings.accepts_peers:
        found.append(
            "federation is off: FEDERATION_TRUSTED_DOMAINS is set, and neither FEDERATION_TRUSTED_KEYS "
            "nor FEDERATION_KEY_DISCOVERY=jwks"
        )
    if settings.fst_previous_secret is not None and settings.fst_secret is None:
        found.append("FEDERATION_FST_PREVIOUS_SECRET is ignored: FEDERATION_FST_SECRET is not set")
    for name, secret in (
        ("FEDERATION_FST_SECRET", settings.fst_secret),
        ("FEDERATION_FST_PREVIOUS_SECRET", settings.fst_previous_secret),
    ):
        if secret is not None and len(secret.encode()) < SECRET_BYTES_MIN:
            found.append(f"{name} is shorter than {SECRET_BYTES_MIN} bytes")
    if settings.accepts_peers and not settings.fetch_keys:
        used = _entries_with_keys(trust)
        found += [
            f"no key of FEDERATION_TRUSTED_KEYS matches {quoted(domain)} of FEDERATION_TRUSTED_DOMAINS"
            for domain in trust.domains
            if domain not in used and _names_port(domain)
        ]
    return found


def _entries_with_keys(trust: FederationTrust) -> set[str | None]:
    used = set()
    for key_id in trust.keys:
        try:
            server = key_id_server(key_id)
        except InvalidKeyId:  # was refused where the keys were read
            continue
        used.add(trust.entry_for(server.host.rstrip("."), server.port))
    return used


def _names_port(domain: str) -> bool:
    """Whether an entry is good for one port alone, or is the name of no server at all."""
    try:
        server = parse_server_name(domain)
    except MalformedText:
        return True
    return server is not None and server.port is not None
