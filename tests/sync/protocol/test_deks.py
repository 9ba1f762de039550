"""Wrapped DEKs: epochs, and listings against the generic encoder and the recorded exchanges."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from cbor2 import loads
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.http.framing import ws_frame, ws_header
from less_sync.sync.protocol.deks import DekListing
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, encode_chunk, encode_response
from less_sync.sync.protocol.messages import DeksResult, FileDek, FileDeksResult, RecordDek

WIRE = json.loads((Path(__file__).parents[2] / "vectors" / "wire.json").read_text())
SCENARIOS = ("deks/get", "deks/rewrap", "deks/rewrap-changed", "file-deks/get-rewrap")

rows = st.lists(st.tuples(st.uuids(), st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1)), max_size=5)


@given(st.text(max_size=30), st.lists(rows, max_size=3))
def test_a_listing_has_the_bytes_of_the_generic_encoder(
    request_id: str, batches: list[list[tuple[UUID, bytes, int]]]
) -> None:
    listing, files = (
        DekListing(request_id, header=ws_header),
        DekListing(request_id, files=True, header=ws_header),
    )
    entries = [RecordDek(str(entry_id), dek, cursor) for batch in batches for entry_id, dek, cursor in batch]
    file_entries = [FileDek(one.id, one.dek, one.seq) for one in entries]
    chunks = [chunk for batch in batches for chunk in listing.chunks(batch)]
    assert chunks == [ws_frame(encode_chunk(request_id, "deks.record", one)) for one in entries]
    file_chunks = [chunk for batch in batches for chunk in files.chunks(batch)]
    assert file_chunks == [
        ws_frame(encode_chunk(request_id, "deks.files.record", one)) for one in file_entries
    ]
    whole = DeksResult(deks=entries, chunks=len(entries))
    assert encode_response(request_id, listing.result()) == encode_response(request_id, whole)
    whole_files = FileDeksResult(deks=file_entries, chunks=len(entries))
    assert encode_response(request_id, files.result()) == encode_response(request_id, whole_files)


@pytest.mark.parametrize("batch", [1, 7])
def test_deks_are_left_out_of_a_result_that_would_be_too_long(batch: int) -> None:
    entries = [(UUID(int=n), bytes(44), n) for n in range(7)]

    def answer(frame_bytes_max: int) -> bytes:
        listing = DekListing("r", frame_bytes_max=frame_bytes_max, header=ws_header)
        for start in range(0, len(entries), batch):
            listing.chunks(entries[start : start + batch])
        return encode_response("r", listing.result())

    whole = answer(FRAME_BYTES_MAX)
    assert len(loads(whole)["result"]["deks"]) == 7
    assert answer(len(whole)) == whole
    for frame_bytes_max in (len(whole) - 1, len(whole) // 2, 1):
        assert answer(frame_bytes_max) == encode_response("r", DeksResult(chunks=7))


def test_a_listing_of_any_length_holds_no_more_than_one_frame() -> None:
    listing = DekListing("r", frame_bytes_max=10_000, header=ws_header)
    held = []
    for n in range(300):
        listing.chunks([(UUID(int=n), bytes(44), n)])
        held.append(sum(len(entry) for entry in listing._entries))
    assert max(held) <= 10_000
    assert held[-1] == 0
    assert loads(encode_response("r", listing.result()))["result"] == {"_chunks": 300}


@pytest.mark.parametrize("name", SCENARIOS)
def test_recorded_listings_are_encoded_byte_for_byte(name: str) -> None:
    (steps,) = (one["steps"] for one in WIRE["scenarios"] if one["name"] == name)
    expected = [bytes.fromhex(step["expect"]) for step in steps if step.get("expect")]
    chunks: list[bytes] = []
    checked = 0
    for frame in expected:
        message = loads(frame)
        if message["type"] == 3:
            chunks.append(frame)
        elif "_chunks" in message.get("result", {}):
            files = any(loads(chunk)["name"] == "deks.files.record" for chunk in chunks)
            listing = DekListing(message["id"], files=files, header=ws_header)
            found = listing.chunks(tuple(entry.values()) for entry in message["result"]["deks"])
            assert found == [ws_frame(chunk) for chunk in chunks]
            assert encode_response(message["id"], listing.result()) == frame
            checked += len(chunks)
            chunks = []
    assert checked
