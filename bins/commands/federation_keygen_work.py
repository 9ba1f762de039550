"""What `federation-keygen` does with a database once its line is read: needs the libraries of the server."""

from dataclasses import dataclass
from datetime import UTC, datetime

from less_sync.auth import b64url_encode
from less_sync.bins.commands.federation_keygen import NewKey, key_lines, new_key_lines
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.operator import Database, work_on
from less_sync.bins.settings.reader import quoted
from less_sync.federation.keys import full_key_id
from less_sync.storage import (
    DeactivateStatus,
    FederationKeyNotFound,
    PostgresFederationKeyStore,
    PostgresPool,
    StoreKeyStatus,
)


@dataclass(frozen=True, slots=True)
class Storing:
    """How a new key is stored."""

    promote: bool
    if_missing: bool
    show_seed: bool


def stored(database: Database, key: NewKey, how: Storing) -> list[str]:
    """Store a key and return the lines that say so, or which one is there already.

    Raises:
        CommandError: the key id is taken, or the database failed.
    """

    async def work(pool: PostgresPool) -> list[str]:
        found = await PostgresFederationKeyStore(pool).store(
            key.key_id,
            seed=key.seed,
            public_key=key.public_key,
            promote=how.promote,
            unless_host=key.domain if how.if_missing else None,
        )
        if found.status is StoreKeyStatus.EXISTS:
            raise CommandError(f"key id already exists: {key.key_id}")
        outcome = ["stored_in_database=true", f"promoted_for_signing={_word(found.signs)}"]
        if found.status is StoreKeyStatus.STORED:
            return [*new_key_lines(key, show_seed=how.show_seed), *outcome]
        known = key_lines(full_key_id(found.kid, key.domain), found.public_key)
        return ["Federation signing key already present", *known, *outcome, "already_present=true"]

    return work_on(database, work)


def listed(database: Database) -> list[str]:
    """A line per key, oldest first."""

    async def work(pool: PostgresPool) -> list[str]:
        return [
            "\t".join(
                (
                    key.kid,
                    _word(key.is_active),
                    _word(key.is_primary),
                    _time(key.created_at),
                    _time(key.deactivated_at),
                    b64url_encode(key.public_key),
                )
            )
            for key in await PostgresFederationKeyStore(pool).all()
        ]

    return work_on(database, work)


def promoted(database: Database, name: str) -> list[str]:
    """Let the key of this name sign.

    Raises:
        CommandError: there is none, or more than one.
    """

    async def work(pool: PostgresPool) -> list[str]:
        store = PostgresFederationKeyStore(pool)
        kid = await _kid_of(store, name)
        await store.promote(kid)
        return [f"key_id={kid}", "promoted_for_signing=true"]

    return work_on(database, work)


def deactivated(database: Database, name: str, *, even_primary: bool) -> list[str]:
    """Take the key of this name out of use.

    Raises:
        CommandError: there is none, or more than one, or it is the one that signs.
    """

    async def work(pool: PostgresPool) -> list[str]:
        store = PostgresFederationKeyStore(pool)
        kid = await _kid_of(store, name)
        if await store.deactivate(kid, even_primary=even_primary) is DeactivateStatus.PRIMARY:
            raise CommandError(
                f"federation key {quoted(kid)} is the one that signs: promote another one, or add --force"
            )
        return [f"key_id={kid}", "active=false"]

    return work_on(database, work)


async def _kid_of(store: PostgresFederationKeyStore, name: str) -> str:
    """The stored id of a key that is named by it, or by what stands behind its `#`."""
    kids = [key.kid for key in await store.all()]
    if name in kids:
        return name
    found = [kid for kid in kids if kid.endswith(f"#{name}")]
    if not found:
        raise FederationKeyNotFound
    if len(found) > 1:
        raise CommandError(f"{quoted(name)} is the name of {len(found)} keys: give the whole key id")
    return found[0]


def _word(flag: bool) -> str:
    return "true" if flag else "false"


def _time(when: datetime | None) -> str:
    """RFC 3339 in UTC, to the microsecond; a dash for none."""
    return "-" if when is None else f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
