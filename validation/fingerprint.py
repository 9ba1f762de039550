"""Which server exactly was looked at, before and after (docs/validation.md 4.2): a GO is about it alone.

Whatever is unknown stays empty. Two fingerprints are compared member by member.
"""

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.validation.context import Context
from less_sync.validation.metrics import read_metrics
from less_sync.validation.outcome import CheckEnd, Faulty
from less_sync.validation.results import SCRATCH_ADDRESS, Fingerprint, Schema

UNKNOWN_PATH: Final = "/less-sync-validate-kind-probe"
EXISTING_TEXT: Final = "invalid authorization header format"
STEP_S: Final = 10.0


async def fingerprint(context: Context) -> Fingerprint:
    """All that can be learnt of the target; what cannot, is left out and said in the log."""
    target = context.target
    found = {"base_url": f"{SCRATCH_ADDRESS}{target.name}" if target.spec.scratch else target.base_url}
    steps: dict[str, Callable[[Context], Awaitable[dict[str, Any]]]] = {
        "kind": _kind,
        "keys": _jwks,
        "metrics": _build,
        "database": _database,
    }
    if not target.spec.scratch:
        steps |= {"addresses": _addresses, "certificate": _tls}
    members: dict[str, Any] = found
    for name, step in steps.items():
        try:
            async with asyncio.timeout(STEP_S):
                members |= await step(context)
        except (CheckEnd, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            context.say(f"fingerprint of {target.name}: no {name}: {error}")
    return Fingerprint(**members)


def changed(before: Fingerprint, after: Fingerprint) -> list[str]:
    """The members that are not as they were; addresses may change, and restarts have rows of their own."""
    names = [one.name for one in fields(Fingerprint) if one.name not in ("addresses", "process_start")]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


async def _kind(context: Context) -> dict[str, Any]:
    return {"kind": await kind(context)}


async def kind(context: Context) -> str:
    """What serves there: `less-sync`, `rust`, or `unknown`; a Go server is not told apart by this.

    An unknown path with a valid token whose scheme is spelled `bearer`: 404 here, 401 with a text of its own
    on the existing Rust server. Reads only, and passes proxies.

    Raises:
        Blocked: there is no token.
        NotReached, Faulty: see `Context.request`.
    """
    token = await context.run.people.person(context.check.target, "owner").token()
    answer = await context.request("GET", UNKNOWN_PATH, headers={"Authorization": f"bearer {token}"})
    if answer.status == 404:
        return "less-sync"
    if answer.status == 401 and EXISTING_TEXT in answer.body.decode(errors="replace"):
        return "rust"
    return "unknown"


async def _jwks(context: Context) -> dict[str, Any]:
    answer = await context.request("GET", "/.well-known/jwks.json")
    if answer.status != 200:
        raise Faulty("status", answer.status)
    document = answer.json()
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise Faulty("jwks-shape")
    lines = sorted(json.dumps(key, sort_keys=True) for key in keys)
    return {"jwks_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


async def _database(context: Context) -> dict[str, Any]:
    if context.target.database_url is None:
        return {}
    versions: list[int] = []
    async with context.database() as connection:
        found: dict[str, Any] = {"database": await connection.fetchval("SELECT current_database()")}
        for table in ("_sqlx_migrations", "less_sync_migrations"):
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                rows = await connection.fetch(f"SELECT version FROM {table} ORDER BY version")
                versions += [int(row[0]) for row in rows]
        if await connection.fetchval("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"):
            number = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
            found["system_identifier"] = str(number)
    return found | {"schema": Schema(tuple(versions))}


async def _build(context: Context) -> dict[str, Any]:
    """What the server says that it is, and since when each of its processes runs."""
    families = await read_metrics(context)
    builds = sorted({one.labels.get("version", "") for one in families.all("build")})
    starts = sorted(one.value for one in families.all("start_time"))
    return {"build": " ".join(builds), "process_start": " ".join(f"{one:.15g}" for one in starts)}


async def _addresses(context: Context) -> dict[str, Any]:
    where = urlsplit(context.target.base_url)
    port = where.port or (443 if where.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(where.hostname, port, type=socket.SOCK_STREAM)
    return {"addresses": tuple(sorted({str(one[4][0]) for one in found}))}


async def _tls(context: Context) -> dict[str, Any]:
    """SHA-256 of the public key of the server's certificate."""
    where = urlsplit(context.target.base_url)
    if where.scheme != "https":
        return {}
    trust = context.target.tls or ssl.create_default_context()
    _, writer = await asyncio.open_connection(where.hostname, where.port or 443, ssl=trust)
    try:
        pair: ssl.SSLObject = writer.get_extra_info("ssl_object")
        leaf = x509.load_der_x509_certificate(pair.getpeercert(binary_form=True) or b"")
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"tls_key_sha256": hashlib.sha256(key).hexdigest()}
    finally:
        writer.close()
