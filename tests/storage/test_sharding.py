"""What spaces on several databases would take is known of every statement (docs/scaling.md 7.1)."""

import json
import re

import pytest

from less_sync.storage.queries import QUERIES, Query
from tests.storage.sharding import (
    NONE,
    OF_SPACES,
    ONE,
    OTHERS,
    PAGE,
    ROOT,
    SEVERAL,
    functions,
    in_page,
    spaces_of,
    statements,
    table,
    tables_of,
)


def section() -> str:
    """Section 7.1 of the page."""
    return PAGE.read_text().partition("### 7.1 ")[2].partition("\n### ")[0]


def test_the_page_has_every_statement_where_it_belongs() -> None:
    assert in_page(PAGE.read_text()) == table(), "write it anew: python -m tests.storage.sharding"


def test_every_statement_is_looked_at() -> None:
    assert [one.query for one in statements()] == sorted(
        QUERIES, key=[one.query for one in statements()].index
    )
    assert len(list(statements())) == len(QUERIES)


def test_what_names_several_spaces_is_split_by_somebody() -> None:
    """For each, the page says who would send one statement to each database."""
    rows = section().partition("| Statement |")[2].partition("\n\n")[0]
    split = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in rows.splitlines()[2:])))
    assert split == {one.query for one in statements() if one.spaces == SEVERAL}


def test_what_names_no_space_reads_none_but_for_operators() -> None:
    """Else it would ask all databases for each request."""
    found = {
        one.query: one.file
        for one in statements()
        if one.spaces == NONE and set(one.tables) & set(OF_SPACES) and one.file != "surveys.sql"
    }
    assert found == {"list_space_homes": "homes.sql", "any_remote_home": "homes.sql"}


def test_no_statement_mixes_tables_of_spaces_with_others() -> None:
    for one in statements():
        assert not (set(one.tables) & set(OF_SPACES) and set(one.tables) & set(OTHERS)), one.query


def test_what_is_unique_over_all_spaces_is_the_id_of_a_record_alone() -> None:
    """A database sees its own rows only: any other key has the space in it."""
    schema = json.loads((ROOT / "migrations" / "expected_schema.json").read_text())
    newest = schema[max(schema, key=int)]
    found = {
        (name, index)
        for name in OF_SPACES
        for index in newest[name]["indexes"]
        if index.startswith(("primary key", "unique")) and "space_id" not in index
    }
    assert found == {("spaces", "primary key btree (id)"), ("records", "primary key btree (id)")}
    keys = {
        (name, constraint)
        for name in OF_SPACES
        for constraint in newest[name]["constraints"]
        if constraint.startswith("FOREIGN KEY") and "(space_id)" not in constraint
    }
    assert keys == {("files", "FOREIGN KEY (record_id) REFERENCES records(id)")}


def test_functions_of_a_space_take_it_as_a_parameter() -> None:
    """So that a database that distributes by it can run them where the space is."""
    for name, function in functions().items():
        of_spaces = set(tables_of(function.body)) & set(OF_SPACES)
        takes = {"p_space", "p_spaces"} & set(function.parameters)
        assert len(takes) == bool(of_spaces), name
        assert takes != {"p_spaces"} or f"`{name}`" in section(), "it is to be split: the page says so"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 1 FROM records r WHERE r.space_id = $1", ONE),
        ("SELECT 1 FROM spaces WHERE id = $1", ONE),
        ("SELECT 1 FROM spaces s WHERE s.id = $2", ONE),
        ("SELECT 1 FROM spaces WHERE id = ANY ($1::uuid[])", SEVERAL),
        ("SELECT 1 FROM records WHERE id = ANY ($2::uuid[]) AND space_id = $1", ONE),
        ("SELECT 1 FROM records WHERE id = $1", NONE),
        ("SELECT 1 FROM invitations WHERE id = $1", NONE),
        ("SELECT status FROM lsync_revoke_v1($1, $2)", ONE),
        (
            "SELECT f.* FROM unnest($1::uuid[]) p (space) CROSS JOIN LATERAL lsync_revoke_v1(p.space, 'x') f",
            SEVERAL,
        ),
    ],
)
def test_statements_are_read_for_what_they_are(text: str, expected: str) -> None:
    assert spaces_of(Query("query", "", text)) == expected
