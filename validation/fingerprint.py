"""Which server exactly was looked at, before and after (docs/validation.md 4.2): a GO is about it alone.

Whatever is unknown is absent: two fingerprints are compared member by member.
"""

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.validation.context import Context
from less_sync.validation.outcome import CheckEnd, Faulty, slug

VOLATILE: Final = frozenset({"addresses", "process_start"})
COMPARED_NOT: Final = frozenset({"addresses"})
UNKNOWN_PATH: Final = "/less-sync-validate-kind-probe"
EXISTING_TEXT: Final = "invalid authorization header format"
STEP_S: Final = 10.0


async def fingerprint(context: Context) -> dict[str, Any]:
    """All that can be learnt of the target; what cannot, is left out and said in the log."""
    found: dict[str, Any] = {"base_url": shown_address(context)}
    target = context.target
    steps: dict[str, Awaitable[Any]] = {
        "jwks_sha256": _jwks(context),
        "kind": kind(context),
        "database": _database(context),
    }
    if not target.spec.scratch:
        steps |= {"addresses": _addresses(context), "tls": _tls(context)}
    for name, step in steps.items():
        try:
            async with asyncio.timeout(STEP_S):
                value = await step
        except (CheckEnd, OSError, TimeoutError, asyncpg.PostgresError) as error:
            context.say(f"fingerprint of {target.name}: no {name}: {error}")
            continue
        if value is not None:
            found[name] = value
    return found


def shown_address(context: Context) -> str:
    """The address as a report names it: of a server that the run started, the target alone."""
    target = context.target
    return f"scratch:{target.name}" if target.spec.scratch else target.base_url


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The members that are not as they were."""
    names = (set(before) | set(after)) - COMPARED_NOT
    return sorted(name for name in names if before.get(name) != after.get(name))


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


async def _jwks(context: Context) -> str:
    answer = await context.request("GET", "/.well-known/jwks.json")
    if answer.status != 200:
        raise Faulty(slug("status", answer.status))
    keys = answer.json()
    keys = keys.get("keys", []) if isinstance(keys, dict) else []
    lines = sorted(json.dumps(key, sort_keys=True) for key in keys)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


async def _database(context: Context) -> dict[str, Any] | None:
    if context.target.database_url is None:
        return None
    async with context.database() as connection:
        found: dict[str, Any] = {"name": await connection.fetchval("SELECT current_database()")}
        for table, key in (("_sqlx_migrations", "shared"), ("less_sync_migrations", "own")):
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
                rows = await connection.fetch(
                    f"SELECT version FROM {table} ORDER BY version"
                )  # one of two names above
                found[key] = [int(row[0]) for row in rows]
        may = await connection.fetchval("SELECT has_function_privilege('pg_control_system()', 'EXECUTE')")
        if may:
            number = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
            found["system_identifier"] = str(number)
    return found


async def _addresses(context: Context) -> list[str]:
    where = urlsplit(context.target.base_url)
    port = where.port or (443 if where.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(where.hostname, port, type=socket.SOCK_STREAM)
    return sorted({str(one[4][0]) for one in found})


async def _tls(context: Context) -> dict[str, str] | None:
    """SHA-256 of the public key of the server's certificate."""
    where = urlsplit(context.target.base_url)
    if where.scheme != "https":
        return None
    trust = context.target.tls or ssl.create_default_context()
    _, writer = await asyncio.open_connection(where.hostname, where.port or 443, ssl=trust)
    try:
        pair: ssl.SSLObject = writer.get_extra_info("ssl_object")
        leaf = x509.load_der_x509_certificate(pair.getpeercert(binary_form=True) or b"")
        key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return {"key_sha256": hashlib.sha256(key).hexdigest()}
    finally:
        writer.close()
