"""The routes of files: what each answers, in which order it looks, and what it says to whom."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from less_sync.auth import Permission
from less_sync.storage import BlobKey
from less_sync.storage.objects.memory import MemoryBlobs
from tests.live import Live, Person, cid_of, claims, live_server
from tests.sync.file_requests import Shelf, b64, dek, headers, path, request, shelf, told

LIMIT = 3 * 1024 * 1024


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=MemoryBlobs(), file_bytes_max=LIMIT) as running:
        yield running


@pytest.fixture
async def own(live: Live) -> Shelf:
    return await shelf(live)


async def test_a_file_comes_back_as_it_was_put_with_its_key(own: Shelf) -> None:
    file, content = uuid4(), bytes(range(256)) * 5000
    put = await own.put(file, content, key=dek(b"\x07"))
    assert (put.status, put.body, put.header("content-length")) == (201, b"", "0")
    assert [put.header(name) for name in ("etag", "location", "x-wrapped-dek")] == [None] * 3
    got = await own.get(file)
    assert (got.status, got.body) == (200, content)
    expected = {
        "content-type": "application/octet-stream",
        "content-length": str(len(content)),
        "etag": f'"{file}"',
        "x-wrapped-dek": b64(dek(b"\x07")),
    }
    assert {name: got.header(name) for name in expected} == expected
    head = await own.get(file, "HEAD")
    assert head.status == 200
    assert {name: head.header(name) for name in expected} == expected


async def test_an_empty_file_is_a_file(own: Shelf) -> None:
    file = uuid4()
    assert (await own.put(file, b"")).status == 201
    got = await own.get(file)
    assert (got.status, got.body, got.header("content-length")) == (200, b"", "0")


async def test_a_repeated_upload_is_204_and_changes_nothing(own: Shelf) -> None:
    file = uuid4()
    assert (await own.put(file, b"first")).status == 201
    cursors = [name_and_data[1].get("cursor") for name_and_data in await own.client.pull(-1)]
    again = await own.put(file, b"second, and longer", key=dek(b"\x01"))
    assert (again.status, again.body) == (204, b"")
    got = await own.get(file)
    assert (got.body, got.header("x-wrapped-dek")) == (b"first", b64(dek()))
    assert [one[1].get("cursor") for one in await own.client.pull(-1)] == cursors


async def test_a_file_comes_in_pulls_with_a_cursor_of_its_own(own: Shelf) -> None:
    file = uuid4()
    await own.put(file, b"12345")
    entries = [data for name, data in await own.client.pull(1) if name == "pull.file"]
    assert entries == [
        {
            "space": own.client.space,
            "id": str(file),
            "record_id": own.record,
            "size": 5,
            "dek": dek(),
            "cursor": 2,
        }
    ]


@pytest.mark.parametrize("form", ["{}", "{{{}}}", "urn:uuid:{}"])
async def test_every_spelling_of_an_id_names_the_same_file(own: Shelf, form: str) -> None:
    file = uuid4()
    spelled = form.format(str(file).upper())
    record = own.record.replace("-", "")
    assert (await own.put(spelled, b"x", x_record_id=record)).status == 201
    got = await own.get(file.hex)
    assert (got.status, got.header("etag")) == (200, f'"{file}"')
    assert await own.live.services.files.blobs.find(BlobKey(UUID(own.client.space), file)) is not None  # type: ignore[union-attr]


# The order of checks: each request is wrong in two neighbouring ways, and is told the first.

NIL = "00000000-0000-0000-0000-000000000000"
BROKEN: list[tuple[str, dict[str, str | None], tuple[int, str]]] = [
    ("scope", {}, (403, "files scope required")),
    ("space", {}, (400, "invalid space ID")),
    ("file", {}, (400, "invalid file ID")),
    ("foreign", {}, (404, "space not found")),
    ("", {"x_record_id": None}, (400, "X-Record-ID header required")),
    ("", {"x_record_id": "no-uuid"}, (400, "X-Record-ID must be a valid UUID")),
    ("", {"x_wrapped_dek": None}, (400, "X-Wrapped-DEK header required")),
    ("", {"x_wrapped_dek": b64(dek())[:-1]}, (400, "X-Wrapped-DEK must be valid base64")),
    ("", {"x_wrapped_dek": b64(dek() + b"x")}, (400, "X-Wrapped-DEK must decode to exactly 44 bytes")),
    ("", {"transfer_encoding": "chunked"}, (411, "Content-Length required")),
    ("", {"content_length": str(LIMIT + 1)}, (413, "file exceeds 3 MB limit")),
    ("", {"content_length": str(2**64 - 1)}, (413, "file exceeds 3 MB limit")),
    ("", {"x_record_id": NIL}, (400, "record not found in this space")),
]


@pytest.mark.parametrize("first", range(len(BROKEN)))
async def test_of_two_faults_the_earlier_one_is_told(own: Shelf, first: int) -> None:
    where: set[str] = set()
    fields: dict[str, str | None] = {}
    # A chunked body with a length is malformed, which the parser says.
    alone = "transfer_encoding" in BROKEN[first][1]
    for place, changes, _ in reversed(BROKEN[first : first + (1 if alone else 2)]):
        where.add(place)
        fields |= changes
    scope = "sync" if "scope" in where else "sync files"
    token = own.live.token("alice", scope=scope)
    space = own.client.space
    if "foreign" in where:
        space = claims("bob")["personal_space_id"]
    space = "nonsense" if "space" in where else space
    file = "nonsense" if "file" in where else str(uuid4())
    fields["authorization"] = f"Bearer {token}"
    whole = headers(own.live, own.record, **fields)
    answer = await request(own.live, "PUT", path(space, file), whole, b"x")
    assert told(answer) == BROKEN[first][2]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "X-Wrapped-DEK must decode to exactly 44 bytes"),
        (b64(dek()).rstrip("="), "X-Wrapped-DEK must be valid base64"),
        (b64(dek(b"\xff")).replace("/", "_"), "X-Wrapped-DEK must be valid base64"),
        (b64(dek())[:20] + " " + b64(dek())[20:], "X-Wrapped-DEK must be valid base64"),
        (b64(dek())[:-2] + "p=", "X-Wrapped-DEK must be valid base64"),
        (b64(dek()[:-1]), "X-Wrapped-DEK must decode to exactly 44 bytes"),
    ],
)
async def test_a_wrapped_key_has_one_spelling(own: Shelf, text: str, error: str) -> None:
    assert told(await own.put(uuid4(), b"x", x_wrapped_dek=text)) == (400, error)


async def test_a_header_with_other_bytes_than_ascii_is_not_there(own: Shelf) -> None:
    answer = await own.put(uuid4(), b"x", x_record_id="\xe9")
    assert told(answer) == (400, "X-Record-ID header required")


async def test_an_upload_of_exactly_the_limit_is_taken(own: Shelf) -> None:
    assert (await own.put(uuid4(), bytes(LIMIT))).status == 201


async def test_a_deleted_record_takes_no_file(own: Shelf) -> None:
    assert (await own.delete_record())["ok"]
    assert told(await own.put(uuid4(), b"x")) == (400, "record not found in this space")


async def test_the_scope_files_alone_is_enough(own: Shelf) -> None:
    token = own.live.token("alice", scope="files")
    assert (await own.put(uuid4(), b"x", authorization=f"Bearer {token}")).status == 201


# Reading.


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_not_there_is_404(own: Shelf, method: str) -> None:
    answer = await own.get(uuid4(), method)
    assert answer.status == 404
    assert method == "HEAD" or told(answer) == (404, "file not found")


async def test_reading_makes_no_space_and_writing_does(live: Live) -> None:
    space = UUID(claims("carol")["personal_space_id"])
    fields = {"authorization": f"Bearer {live.token('carol')}"}
    assert told(await request(live, "GET", path(str(space), uuid4()), fields)) == (404, "file not found")
    assert await live.services.spaces.get_spaces([space]) == {}
    fields = headers(live, str(uuid4()), "carol")
    answer = await request(live, "PUT", path(str(space), uuid4()), fields, b"x")
    assert told(answer) == (400, "record not found in this space")
    assert list(await live.services.spaces.get_spaces([space])) == [space]


async def test_a_lost_content_is_404_for_get_and_unnoticed_by_head(own: Shelf) -> None:
    file = uuid4()
    await own.put(file, b"x")
    assert own.live.services.files is not None
    await own.live.services.files.blobs.remove(BlobKey(UUID(own.client.space), file))
    assert told(await own.get(file)) == (404, "file not found")
    assert (await own.get(file, "HEAD")).status == 200


async def test_conditions_and_ranges_are_not_heeded(own: Shelf) -> None:
    file = uuid4()
    await own.put(file, b"12345")
    got = await own.get(file, if_none_match=f'"{file}"', range="bytes=0-1")
    assert (got.status, got.body) == (200, b"12345")
    assert {got.header(name) for name in ("accept-ranges", "cache-control", "last-modified")} == {None}


async def test_a_rewrapped_key_is_the_one_that_comes(own: Shelf) -> None:
    file = uuid4()
    await own.put(file, b"x")
    await own.client.call("epoch.begin", {"space": own.client.space, "epoch": 2})
    fresh = (2).to_bytes(4, "big") + b"\xbb" * 40
    rewrapped = {"space": own.client.space, "deks": [{"id": str(file), "dek": fresh}]}
    await own.client.call("file.deks.rewrap", rewrapped)
    assert (await own.get(file)).header("x-wrapped-dek") == b64(fresh)


# Shared spaces.


async def shared(live: Live) -> tuple[Shelf, Person]:
    """A shared space with a record, as its owner has it."""
    owner = Person("alice")
    client = await live.join(owner)
    space = await client.create_space(owner)
    ucan = owner.grant(owner, space, Permission.ADMIN)
    record = str(uuid4())
    pushed = await client.push({"id": record, "expected_cursor": 0, "blob": b"x"}, space=space, ucan=ucan)
    assert pushed["ok"]
    token = live.token("alice", did=owner.did)
    more = {"authorization": f"Bearer {token}", "x-ucan": ucan}
    return Shelf(live, client, record, space=space, more=more), owner


def as_person(theirs: Shelf, person: Person, ucan: str | None) -> Shelf:
    token = theirs.live.token(person.name, did=person.did)
    more = {"authorization": f"Bearer {token}"} | ({} if ucan is None else {"x-ucan": ucan})
    return Shelf(theirs.live, theirs.client, theirs.record, person.name, theirs.space, more)


async def test_members_put_and_get_by_what_their_ucan_grants(live: Live) -> None:
    theirs, owner = await shared(live)
    bob, eve = Person("bob"), Person("eve")
    file = uuid4()
    assert (await theirs.put(file, b"by the owner")).status == 201
    write = owner.grant(bob, theirs.space)
    assert (await as_person(theirs, bob, write).put(uuid4(), b"by bob")).status == 201
    passed_on = bob.grant(eve, theirs.space, Permission.READ, proof=write)
    reading = as_person(theirs, eve, passed_on)
    assert (await reading.get(file)).body == b"by the owner"
    assert (await reading.get(file, "HEAD")).status == 200
    assert told(await reading.put(uuid4(), b"x")) == (403, "access denied")


async def test_who_shows_nothing_is_401_and_who_shows_what_grants_nothing_403(live: Live) -> None:
    theirs, owner = await shared(live)
    bob = Person("bob")
    for ucan in (None, "", "\xe9"):
        answer = await as_person(theirs, bob, ucan).put(uuid4(), b"x")
        assert told(answer) == (401, "authorization required")
        assert answer.header("www-authenticate") is None
    nobody = as_person(theirs, bob, owner.grant(bob, theirs.space))
    nobody.more["authorization"] = f"Bearer {live.token('bob')}"
    assert told(await nobody.get(uuid4())) == (401, "authorization required")
    for ucan in ("nonsense", bob.grant(bob, theirs.space), owner.grant(bob, str(uuid4()))):
        assert told(await as_person(theirs, bob, ucan).get(uuid4())) == (403, "access denied")


async def test_a_revoked_link_closes_the_files_too(live: Live) -> None:
    theirs, owner = await shared(live)
    bob, eve = Person("bob"), Person("eve")
    write = owner.grant(bob, theirs.space)
    passed_on = bob.grant(eve, theirs.space, proof=write)
    assert (await as_person(theirs, eve, passed_on).put(uuid4(), b"x")).status == 201
    revoking = {"space": theirs.space, "ucan": theirs.more["x-ucan"], "ucan_cid": cid_of(write)}
    await theirs.client.call("membership.revoke", revoking)
    for person, ucan in ((bob, write), (eve, passed_on)):
        assert told(await as_person(theirs, person, ucan).put(uuid4(), b"x")) == (403, "access denied")
        assert told(await as_person(theirs, person, ucan).get(uuid4())) == (403, "access denied")


async def test_a_space_that_is_not_there_is_told_as_such_without_a_ucan_too(live: Live) -> None:
    theirs, _ = await shared(live)
    theirs.space = str(uuid4())
    assert told(await theirs.put(uuid4(), b"x")) == (404, "space not found")
    del theirs.more["x-ucan"]
    assert told(await theirs.get(uuid4())) == (404, "file not found")


# What is wired.


async def test_without_file_storage_there_is_no_route(database_url: str) -> None:
    async with live_server(database_url) as live:
        own = await shelf(live)
        answer = await own.put(uuid4(), b"x")
        assert (answer.status, answer.body, answer.header("content-type")) == (404, b"", None)


async def test_other_methods_are_405(own: Shelf) -> None:
    answer = await own.get(uuid4(), "DELETE")
    assert (answer.status, answer.body, answer.header("allow")) == (405, b"", "PUT,GET,HEAD")
