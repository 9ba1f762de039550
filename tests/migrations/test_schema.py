"""The schema after the shared migrations is docs/storage.md 1.1's, and the committed snapshots are true."""

import json

from less_sync.migrations import migrate_up
from less_sync.migrations.schema import EXPECTED_FILE, Schema, expected

from .support import code, tables, up_to

NOW = "timestamp with time zone not null default now()"
SPACE_KEY = "FOREIGN KEY (space_id) REFERENCES spaces(id) ON DELETE CASCADE"

CHAPTER: Schema = {
    "spaces": {
        "columns": {
            "id": "uuid not null",
            "client_id": "text not null",
            "root_public_key": "bytea null",
            "key_generation": "integer not null default 1",
            "min_key_generation": "integer not null default 1",
            "metadata_version": "integer not null default 0",
            "cursor": "bigint not null default 0",
            "created_at": NOW,
            "updated_at": NOW,
            "rewrap_epoch": "integer null",
            "home_server": "text null",
        },
        "indexes": ["primary key btree (id)"],
        "constraints": [],
    },
    "records": {
        "columns": {
            "id": "uuid not null",
            "space_id": "uuid not null",
            "blob": "bytea null",
            "cursor": "bigint not null",
            "wrapped_dek": "bytea null",
            "deleted": "boolean not null default false",
        },
        "indexes": ["primary key btree (id)", "btree (space_id, cursor, id)"],
        "constraints": [SPACE_KEY],
    },
    "files": {
        "columns": {
            "space_id": "uuid not null",
            "id": "uuid not null",
            "size": "bigint not null",
            "wrapped_dek": "bytea not null",
            "record_id": "uuid not null",
            "cursor": "bigint not null default 0",
            "deleted": "boolean not null default false",
        },
        "indexes": ["primary key btree (space_id, id)", "btree (record_id)", "btree (space_id, cursor)"],
        "constraints": [
            "CHECK ((deleted OR ((size >= 0) AND (wrapped_dek IS NOT NULL) AND (length(wrapped_dek) = 44))))",
            "FOREIGN KEY (record_id) REFERENCES records(id)",
            SPACE_KEY,
        ],
    },
    "members": {
        "columns": {
            "space_id": "uuid not null",
            "chain_seq": "integer not null",
            "prev_hash": "bytea null",
            "entry_hash": "bytea not null",
            "payload": "bytea not null",
            "cursor": "bigint not null default 0",
        },
        "indexes": ["primary key btree (space_id, chain_seq)", "btree (space_id, cursor)"],
        "constraints": [SPACE_KEY],
    },
    "revocations": {
        "columns": {"space_id": "uuid not null", "ucan_cid": "text not null"},
        "indexes": ["unique btree (space_id, ucan_cid)"],
        "constraints": [SPACE_KEY],
    },
    "invitations": {
        "columns": {
            "id": "uuid not null default gen_random_uuid()",
            "mailbox_id": "character(64) not null",
            "payload": "bytea not null",
            "created_at": NOW,
            "expires_at": "timestamp with time zone not null",
        },
        "indexes": [
            "primary key btree (id)",
            "btree (expires_at)",
            "btree (mailbox_id, created_at DESC)",
        ],
        "constraints": [],
    },
    "rate_limit_actions": {
        "columns": {
            "action": "character varying(32) not null",
            "actor_hash": "character(64) not null",
            "created_at": NOW,
        },
        "indexes": ["btree (action, actor_hash, created_at)"],
        "constraints": [],
    },
    "federation_signing_keys": {
        "columns": {
            "kid": "text not null",
            "private_key": "bytea not null",
            "public_key": "bytea not null",
            "created_at": NOW,
            "is_active": "boolean not null default true",
            "is_primary": "boolean not null default false",
            "deactivated_at": "timestamp with time zone null",
        },
        "indexes": ["primary key btree (kid)", "unique btree (is_primary) WHERE (is_primary = true)"],
        "constraints": [],
    },
}


async def test_the_schema_after_migration_12_is_that_of_the_existing_servers(empty_database_url: str) -> None:
    await migrate_up(empty_database_url, catalog=up_to(12))
    assert await tables(empty_database_url) == CHAPTER
    assert await code(empty_database_url) == (["update_updated_at_column"], ["spaces_updated_at on spaces"])
    assert expected(12) == CHAPTER


async def test_the_committed_snapshots_are_what_the_migrations_make(empty_database_url: str) -> None:
    made: dict[str, Schema] = {"0": await tables(empty_database_url)}
    for number in range(1, 13):
        await migrate_up(empty_database_url, catalog=up_to(number))
        made[str(number)] = await tables(empty_database_url)
    text = json.dumps(made, indent=1, sort_keys=True) + "\n"
    assert text == EXPECTED_FILE.read_text(encoding="utf-8")


async def test_own_migrations_only_add_functions_and_plain_indexes(empty_database_url: str) -> None:
    await migrate_up(empty_database_url)
    found = await tables(empty_database_url)
    for name, table in CHAPTER.items():
        assert found[name]["columns"] == table["columns"]
        assert found[name]["constraints"] == table["constraints"]
        added = [shape for shape in found[name]["indexes"] if shape not in table["indexes"]]
        assert not [shape for shape in added if shape.startswith(("unique", "primary"))]
        assert [shape for shape in found[name]["indexes"] if shape not in added] == table["indexes"]
    functions, triggers = await code(empty_database_url)
    assert set(functions) - {"update_updated_at_column"} >= {"lsync_push_v1", "lsync_space_v1"}
    assert triggers == ["spaces_updated_at on spaces"]
