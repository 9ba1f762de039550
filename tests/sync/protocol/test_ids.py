"""Record ids: one accepted form, either case."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.ids import parse_record_id, parse_record_ids


@given(st.uuids())
def test_hyphenated_ids_of_either_case_come_out_in_lower_case(record_id: UUID) -> None:
    assert parse_record_id(str(record_id)) == str(record_id)
    assert parse_record_id(str(record_id).upper()) == str(record_id)


@pytest.mark.parametrize("record_id", [UUID(int=0), UUID(int=2**128 - 1)])
def test_nil_and_all_ones_are_ids(record_id: UUID) -> None:
    assert parse_record_id(str(record_id)) == str(record_id)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "4b131aa1543c5c6b92cd3db468a95e64",
        "{4b131aa1-543c-5c6b-92cd-3db468a95e64}",
        "urn:uuid:4b131aa1-543c-5c6b-92cd-3db468a95e64",
        "4b131aa1-543c-5c6b-92cd-3db468a95e6",
        "4b131aa1-543c-5c6b-92cd-3db468a95e641",
        "4b131aa1-543c-5c6b-92cd-3db468a95e64\n",
        " 4b131aa1-543c-5c6b-92cd-3db468a95e64",
        "4b131aa1-543c-5c6b-92cd-3db468a95e6g",
        "4b131aa15-43c-5c6b-92cd-3db468a95e64",
        "4b131aa1_543c_5c6b_92cd_3db468a95e64",
        "٤b131aa1-543c-5c6b-92cd-3db468a95e64",
    ],
)
def test_other_spellings_are_no_record_ids(text: str) -> None:
    assert parse_record_id(text) is None


@given(st.text(alphabet="0123456789abcdefABCDEF-{}", min_size=30, max_size=40) | st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    parsed = parse_record_id(text)
    assert parsed is None or parsed == str(UUID(text))


@given(st.lists(st.uuids(), min_size=1, max_size=40), st.booleans())
def test_many_ids_are_read_at_once(record_ids: list[UUID], upper: bool) -> None:
    texts = [str(record_id) for record_id in record_ids]
    assert parse_record_ids([text.upper() for text in texts] if upper else texts) == texts


ONE = "4b131aa1-543c-5c6b-92cd-3db468a95e64"


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        [ONE, ""],
        [f"{ONE},{ONE}"],
        [f"{ONE},{ONE}", ""],
        [f"{ONE},", ONE[1:]],
        [ONE[:-1], f"{ONE}1"],
        [ONE, f"{ONE}\n"],
        [ONE, ONE.replace("4", "٤", 1)],
    ],
)
def test_one_bad_text_spoils_them_all(texts: list[str]) -> None:
    assert parse_record_ids(texts) is None
