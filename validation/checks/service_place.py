"""Which system a target is: certificate, clock, build, features, name, and that it is not another one."""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from cryptography import x509

from less_sync.auth import Permission
from less_sync.sync.client import token_claim
from less_sync.sync.protocol.messages import SubscribeResult
from less_sync.validation.checks.service_http import HEALTH, unknown_file
from less_sync.validation.commands import IMAGE_PROBE, image_told
from less_sync.validation.context import Context
from less_sync.validation.fingerprint import kind
from less_sync.validation.made import Made
from less_sync.validation.metrics import Families, read_metrics, show
from less_sync.validation.outcome import Blocked, Broken, CheckEnd, Faulty, NotReached, slug
from less_sync.validation.people import Person
from less_sync.validation.spaces import read
from less_sync.validation.targets import CONNECT_S, Target

EXPIRED: Final = 10
"""X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL; the two below: a name, and an address, that is another."""
OTHER_NAMES: Final = frozenset({62, 64})
RESOLUTION_MS: Final = 500
"""A `Date` tells whole seconds, cut off: on the average it is half of one late."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a TLS server shows."""

    version: str
    leaf: x509.Certificate


async def tls_shown(where: SplitResult, name: str, trust: ssl.SSLContext | None) -> Shown:
    """Shake hands with the host of a URL, and check its certificate for a name.

    Raises:
        NotReached: nobody answered.
        Faulty: `expires`, `host-mismatch`, `untrusted`, `handshake`.
    """
    context = trust or ssl.create_default_context()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(
                where.hostname, where.port or 443, ssl=context, server_hostname=name
            )
    except ssl.SSLCertVerificationError as error:
        mismatch = error.verify_code in OTHER_NAMES
        expired = error.verify_code == EXPIRED
        raise Faulty("host-mismatch" if mismatch else "expires" if expired else "untrusted") from None
    except ssl.SSLError:
        raise Faulty("handshake") from None
    except OSError:  # TimeoutError too
        raise NotReached("connect") from None
    try:
        session: ssl.SSLObject = writer.get_extra_info("ssl_object")
        leaf = x509.load_der_x509_certificate(session.getpeercert(binary_form=True) or b"")
        return Shown(session.version() or "", leaf)
    finally:
        writer.close()


def is_loopback(host: str) -> bool:
    """Whether a host's name says that it is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def tls(context: Context) -> None:
    """The certificate, its name and time, and that a WebSocket passes; or plain HTTP where that is right."""
    target = context.target
    where = urlsplit(target.base_url)
    host = where.hostname or ""
    if where.scheme == "http":
        allowed = is_loopback(host) or context.check.parameters["allow_plain_http"] is True
        context.say("plain HTTP, " + ("as is allowed" if allowed else "beyond this machine"))
        context.measured.same("certificate", True, allowed, "plaintext")
    else:
        shown = await tls_shown(where, host, target.tls)
        left = shown.leaf.not_valid_after_utc - datetime.fromtimestamp(context.run.wall_clock_s(), UTC)
        context.say(f"{shown.version}, certificate good for {left.days} days more")
        context.measured.number("certificate_days", left.days)
        long = left >= timedelta(days=context.number("valid_days"))
        context.measured.same("certificate", True, long, "expires")
        context.measured.same("certificate", True, shown.version in ("TLSv1.2", "TLSv1.3"), "tls-version")
    answer = await context.request("GET", HEALTH)
    moved = answer.header("location") if 300 <= answer.status < 400 else None
    elsewhere = moved is not None and urlsplit(moved).hostname not in (None, host)
    context.measured.same("redirect", False, elsewhere, "redirect")
    async with context.converse() as conversation:
        answer_to_upgrade = conversation.socket.response
        assert answer_to_upgrade is not None
        context.say("a WebSocket was opened")
        context.measured.same("upgrade", 101, answer_to_upgrade.status_code, "upgrade")


async def hsts(context: Context) -> None:
    """Whether browsers are told to come back by TLS alone (RFC 6797)."""
    value = (await context.request("GET", HEALTH)).header("strict-transport-security")
    context.measured.same("present", True, value is not None, "absent")
    if value is not None:
        found = re.search(r'(?:^|;)\s*max-age\s*=\s*"?(\d{1,12})"?\s*(?:;|$)', value, re.IGNORECASE)
        context.measured.number("max_age_s", int(found[1]) if found else 0)


async def _date_offset_ms(context: Context, target: Target) -> int | None:
    """By how much a target's `Date` is ahead of this machine's clock; None without one."""
    sent_s = context.run.wall_clock_s()
    answer = await context.request("GET", HEALTH, target=target)
    middle_s = (sent_s + context.run.wall_clock_s()) / 2
    try:
        told_s = parsedate_to_datetime(answer.header("date") or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return round((told_s - middle_s) * 1000) + RESOLUTION_MS


async def clock(context: Context) -> None:
    """The server's clock, and its database's, beside this machine's."""
    limit_ms = context.number("skew_ms")
    offset_ms = await _date_offset_ms(context, context.target)
    context.measured.same("dated", True, offset_ms is not None, "no-date")
    if offset_ms is None:
        return
    context.say(f"its `Date` is {offset_ms:+} ms from here")
    offsets_ms = [offset_ms]
    if context.target.database_url is not None:
        async with context.database() as connection:
            sent_s = context.run.wall_clock_s()
            told: datetime = await connection.fetchval("SELECT clock_timestamp()")
            middle_s = (sent_s + context.run.wall_clock_s()) / 2
        offsets_ms.append(round((told.timestamp() - middle_s) * 1000))
        context.say(f"its database's clock is {offsets_ms[1]:+} ms from here")
    worst_ms = max(abs(one) for one in offsets_ms)
    if worst_ms > limit_ms and await _all_agree(context, offsets_ms, limit_ms):
        raise Broken("own-clock")
    context.measured.number("skew_ms", worst_ms, samples=len(offsets_ms))


async def _all_agree(context: Context, offsets_ms: list[int], limit_ms: int) -> bool:
    """Whether all that can be asked, of two targets at least, tell one time, and this machine another.

    A server and its database are often one machine, so that they agree says nothing.
    """
    others = 0
    for target in context.run.targets.values():
        if target is context.target or target.base_url == context.target.base_url:
            continue
        try:
            other_ms = await _date_offset_ms(context, target)
        except CheckEnd as end:
            context.say(f"{target.name} cannot tell: {end}")
            continue
        if other_ms is not None:
            context.say(f"the `Date` of {target.name} is {other_ms:+} ms from here")
            offsets_ms.append(other_ms)
            others += 1
    together = max(offsets_ms) - min(offsets_ms) <= limit_ms
    return bool(others) and together and all(abs(one) > limit_ms for one in offsets_ms)


async def version(context: Context) -> None:
    """The kind of server by probe, and the build and image that it runs."""
    declared = context.target.spec.server
    if declared == "go":
        context.say("a Go server is not told apart by the probe: taken as declared")
        context.measured.same("kind", declared, declared, "wrong-server")
    else:
        seen = await kind(context)
        context.say(f"declared as {declared}, answers like {seen}")
        context.measured.same("kind", declared, seen, slug("wrong-server", seen))
        if seen != declared:
            return
    context.measured.no_samples("build")
    wanted = context.run.candidate_version
    families = await _metrics_if_given(context)
    if families is not None and wanted:
        show(context, families, "build")
        told = {one.labels.get("version", "") for one in families.all("build")}
        context.say(f"version {wanted} is expected, it says {', '.join(sorted(told)) or 'none'}")
        context.measured.same("build", {wanted}, told, "version-differs")
    if context.run.inputs.value(IMAGE_PROBE) is not None:
        image = context.run.inputs.value("CANDIDATE_IMAGE")
        told_image, _ = await image_told(context, "service")
        if image is None:
            context.say("no CANDIDATE_IMAGE is given to compare the image with")
        else:
            context.measured.same("build", image, told_image, "image-differs")


async def _metrics_if_given(context: Context, target: str | None = None) -> Families | None:
    try:
        return await read_metrics(context, target)
    except Blocked as end:
        context.say(f"no metrics: {end}")
        return None


async def distinct(context: Context) -> None:
    """Staging and production are two systems, by the first of three proofs that can be had."""
    staging, production = context.target_named("staging"), context.target_named("production")
    context.measured.no_samples("distinct")
    for name, proof in (
        ("databases", _database_identities),
        ("processes", _process_identities),
        ("a space", _space_known),
    ):
        pair = await proof(context, staging, production)
        if pair is not None:
            context.say(f"told apart by {name}: {'the same' if pair[0] == pair[1] else 'two'}")
            context.measured.same("distinct", False, pair[0] == pair[1], "same-target")
            return
        context.say(f"cannot be told apart by {name}")


Pair = tuple[object, object]


async def _database_identities(context: Context, *targets: Target) -> Pair | None:
    """The system identifier and name of both databases."""
    found = list[object]()
    for target in targets:
        if target.database_url is None:
            return None
        async with target.database(context) as connection:
            query = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"
            if not await connection.fetchval(query):
                return None
            query = "SELECT system_identifier::text, current_database()::text FROM pg_control_system()"
            found.append([tuple(row) for row in await connection.fetch(query)])
    context.evidence.statement(query, "1 row each")
    return found[0], found[1]


async def _process_identities(context: Context, *targets: Target) -> Pair | None:
    """Where both run and since when, by their metrics; two starts of one server are one system."""
    found = list[tuple[frozenset[str], frozenset[float]]]()
    for target in targets:
        families = await _metrics_if_given(context, target.name)
        if families is None:
            return None
        show(context, families, "node", "start_time")
        nodes = frozenset(one.labels.get("node", "") for one in families.all("node"))
        starts = frozenset(one.value for one in families.all("start_time"))
        if not nodes or not starts:
            return None
        found.append((nodes, starts))
    return found[0], found[1]


async def _space_known(context: Context, staging: Target, production: Target) -> Pair | None:
    """A space of the run, asked for at both by one DID with one UCAN: who does not know it, is another.

    The pair is what both answered; equal when production lets the DID in as well.
    """
    try:
        owner = context.run.people.person(staging.name, "owner")
        away = context.run.people.person(production.name, "owner")
        did = token_claim(await away.token(), "did")
        if not isinstance(did, str) or token_claim(await owner.token(), "did") != did or owner.did != did:
            context.say("the owner has not one DID at both, or cannot sign for it")
            return None
    except Blocked as end:
        context.say(f"no identity for that: {end}")
        return None
    space = context.stream.uuid()
    async with context.converse(owner, target=staging) as conversation:
        # As `leave` has it, for a check of no target: to be cleaned up, should the answer be lost too.
        context.run.made.setdefault(staging.name, []).append(Made("space", owner.name, str(space)))
        params = {"id": str(space), "root_public_key": owner.root_key}
        await conversation.call("space.create", params)
        context.run.confirmed.add(str(space))
    ucan = owner.grant(did, space, Permission.READ, stream=context.stream)
    here = await _lets_in(context, staging, owner, str(space), ucan)
    if not here:
        raise Faulty("refused", "subscribe")
    return here, await _lets_in(context, production, away, str(space), ucan)


async def _lets_in(context: Context, target: Target, person: Person, space: str, ucan: str) -> bool:
    async with context.converse(person, target=target) as conversation:
        entry = {"id": space, "since": 0, "ucan": ucan}
        result = await conversation.call("subscribe", {"spaces": [entry]})
    return [one.id for one in read(SubscribeResult, result, "subscribe").spaces] == [space]


async def features(context: Context) -> None:
    """What the manifest declares beside what the server shows."""
    declared = context.run.manifest.features
    allow = (await context.request("OPTIONS", unknown_file(context))).header("allow") or ""
    files = "PUT" in [word.strip() for word in allow.split(",")]
    told = (await context.request("GET", HEALTH)).json()
    federation = isinstance(told, dict) and "federation" in told
    for name, seen in (("files", files), ("federation", federation)):
        context.say(f"{name}: declared {declared[name]}, seen {seen}")
        reason = slug("undeclared" if seen else "missing", name)
        context.measured.same("features", declared[name], seen, reason)
    if context.target.rate_limited:  # not to have been says nothing: a limit is met after ten invitations
        context.measured.same("features", True, declared["rate_limits"], "undeclared:rate_limits")


async def canonical_host(context: Context) -> None:
    """The official name leads to where the target is looked at, and a certificate for it is shown there."""
    target, name = context.target, context.target.spec.canonical_host
    where = urlsplit(target.base_url)
    official, here = await _resolved(name), await _resolved(where.hostname or "")
    context.say(f"{len(official)} addresses of the official name, {len(here & official)} of them are here")
    context.measured.same("mapped", True, bool(official & here), "not-mapped")
    fault = "" if where.scheme == "https" else "plaintext"
    if not fault:
        try:
            shown = await tls_shown(where, name, target.tls)
            context.say(f"its certificate is good until {shown.leaf.not_valid_after_utc:%Y-%m-%d}")
        except Faulty as end:
            fault = end.outcome.reason.split(":")[0]
    context.say(f"a certificate for it: {fault or 'yes'}")
    context.measured.same("mapped", "", fault, slug("not-mapped", *([fault] if fault else [])))


async def _resolved(name: str) -> set[str]:
    try:
        async with asyncio.timeout(CONNECT_S):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(one[4][0]) for one in found}
