"""The results document: its one spelling, what it declares volatile, and what is refused when it is read."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.validation.canonical import canonical, compact
from less_sync.validation.outcome import Outcome, Status
from less_sync.validation.results import (
    Candidate,
    Document,
    NotADocument,
    command_of,
    document,
    read_document,
    stable_digest,
)
from tests.validation.matrices import check
from tests.validation.reports import FAILED, ROWS, RUN, SUBJECT, read, results, row

KEYS = {
    *("format", "name", "title", "kind", "stage", "mode", "decision", "would_be", "overall"),
    *("decision_reasons", "counts", "policy", "subject", "inputs", "overrides", "references", "checks"),
    *("left_behind", "rollback", "run", "stable_digest", "volatile"),
}
ROW_KEYS = {
    *("id", "lane", "target", "uses", "required", "status", "reason", "description", "command", "log_path"),
    *("criteria", "measured", "attempts", "started_at", "duration_us", "evidence"),
}


def test_canonical_json_has_one_spelling() -> None:
    made = canonical(
        {"b": [1, {"z": None, "a": True}], "a": '\u00e9\u2028"\\\n\x7f\x01', "\U0001f600": [], "\uff5e": {}}
    )
    lines = [
        *(
            "{",
            ' "a": "\u00e9\u2028\\"\\\\\\n\x7f\\u0001",',
            ' "b": [',
            "  1,",
            "  {",
            '   "a": true,',
            '   "z": null',
        ),
        *("  }", " ],", ' "\uff5e": {},', ' "\U0001f600": []', "}", ""),
    ]
    assert made.decode() == "\n".join(lines)
    assert compact({"b": [1, "x"], "a": {}}) == b'{"a":{},"b":[1,"x"]}'


@pytest.mark.parametrize("value", [1.0, {"a": [float("nan")]}, 2**63, -(2**63), {1: 2}, b"x", "\ud800"])
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the kind is all that callers go by
        canonical(value)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**62), 2**62)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda one: st.lists(one) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), one),
        max_leaves=8,
    )
)
@settings(max_examples=60)
def test_canonical_json_is_read_back_the_same(value: Any) -> None:
    assert json.loads(canonical(value)) == json.loads(compact(value)) == value


def test_the_document_has_the_keys_of_its_format_and_no_other() -> None:
    plain = document(results())
    assert plain.keys() == KEYS
    assert all(entry.keys() == ROW_KEYS for entry in plain["checks"])
    assert document(results([row("x", row={"resumed_from": "ab"})]))["checks"][0]["resumed_from"] == "ab"
    assert plain["counts"] == {
        "total": 8,
        "passed": 2,
        "failed": {"required": 1, "optional": 1},
        "skipped": {"required": 1, "optional": 1},
        "blocked": {"required": 1, "optional": 0},
        "error": {"required": 1, "optional": 0},
    }
    assert [one["name"] for one in plain["inputs"]] == [
        "BACKUP_DIR",
        "CANDIDATE_IMAGE",
        "STAGING_ACCESS_TOKEN",
    ]
    assert plain["decision_reasons"][0] == {"code": "required-not-passed", "check_id": "two"}
    assert canonical(plain).endswith(b"\n}\n")


def test_a_command_check_can_be_repeated_with_its_secrets_by_name() -> None:
    plain = "less-sync validate --manifest manifest.toml --check x"
    assert command_of(check("x")) == plain
    argv = ("probe", "--token", "${STAGING_TOKEN}", "it's", "pre${A}post")
    assert command_of(check("x", parameters={"argv": argv})) == (
        f'{plain} # probe --token "$STAGING_TOKEN" \'it\'"\'"\'s\' pre"$A"post'
    )


def test_only_what_is_declared_volatile_leaves_the_stable_digest_as_it_is() -> None:
    plain = document(results())
    digest = stable_digest(plain)
    for path in plain["volatile"]:
        if path.startswith("/"):
            changed = json.loads(canonical(plain))
            assert _set(changed, path[1:].split("/")), path
            assert stable_digest(changed) == digest, path
    for path in (
        "/title",
        "/checks/0/status",
        "/checks/0/criteria/times",
        "/subject/candidate/image",
        "/inputs/0/value",
    ):
        changed = json.loads(canonical(plain))
        assert _set(changed, path[1:].split("/")), path
        assert stable_digest(changed) != digest, path
    changed = json.loads(canonical(plain))
    changed["subject"]["fingerprints"]["staging"]["start"]["kind"] = "rust"
    assert stable_digest(changed) != digest, "of a scratch server the kind is no accident"


def _set(value: Any, path: list[str]) -> bool:
    """Change every member at this path; False: there is none."""
    name, rest = path[0], path[1:]
    keys = range(len(value)) if isinstance(value, list) else list(value)
    hit = False
    for key in keys:
        if name in ("*", str(key)):
            if rest:
                hit |= value[key] is not None and not isinstance(value[key], str) and _set(value[key], rest)
            else:
                value[key], hit = "changed", True
    if not rest and isinstance(value, dict) and name == "resumed_from":
        value[name], hit = "changed", True
    return hit


@given(st.randoms(use_true_random=False), st.integers(1, 10**9))
@settings(max_examples=25)
def test_order_of_finishing_and_times_leave_the_stable_digest_as_it_is(
    random_: random.Random, us: int
) -> None:
    finished = list(ROWS)
    random_.shuffle(finished)
    by_id = {one.check.id: replace(one, duration_us=random_.randrange(us), attempts=3) for one in finished}
    again = [by_id[one.check.id] for one in ROWS]
    other = replace(RUN, id="ff" * 16, jobs=random_.randrange(1, 16), finished_at="2030-01-01T00:00:00Z")
    assert read(results(again, run=other)).stable_digest == read(results()).stable_digest


def test_other_outcomes_and_subjects_have_another_stable_digest() -> None:
    digests = {
        read(one).stable_digest
        for one in (
            results(),
            results([*ROWS[:-1], row("eight", FAILED, lane="federation", required=False)]),
            results(ROWS[:-1]),
            results(subject=replace(SUBJECT, candidate=Candidate("1.5.1"))),
        )
    }
    assert len(digests) == 4


@given(st.text(max_size=40))
@settings(max_examples=60)
def test_any_text_is_kept_but_for_halves_of_characters(text: str) -> None:
    wanted = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    told = read(results(title=text, checks=(row("one", description=text),)))
    assert (told.title, told.checks[0].description) == (wanted, wanted)


def test_a_document_is_read_back_as_it_was() -> None:
    told = read(results())
    assert isinstance(told, Document)
    assert [entry.id for entry in told.checks] == [one.check.id for one in ROWS]
    assert told.checks[1].status is Status.FAILED
    assert told.subject == SUBJECT


def _changed(change: Any) -> bytes:
    plain = document(results())
    change(plain)
    return (
        json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1, separators=(",", ": ")).encode()
        + b"\n"
    )


HOSTILE_CHANGES = {
    "an unknown key": lambda plain: plain.update(other=1),
    "an unknown key of a row": lambda plain: plain["checks"][0].update(other=1),
    "a fraction": lambda plain: plain["checks"][0]["measured"].update(x_ms=1.0),
    "a huge number": lambda plain: plain["checks"][0]["measured"].update(x_ms=10**40),
    "a number for a text": lambda plain: plain.update(title=1),
    "an unknown status": lambda plain: plain["checks"][0].update(status="fine"),
    "an unknown decision": lambda plain: plain.update(decision="GO!"),
    "another format": lambda plain: plain.update(format=2),
    "a row twice": lambda plain: plain["checks"].append(plain["checks"][0]),
    "an id that leads out": lambda plain: plain["checks"][0].update(id="../../x"),
    "an empty id": lambda plain: plain["checks"][0].update(id=""),
    "a key left out": lambda plain: plain.pop("mode"),
}


@pytest.mark.parametrize("name", HOSTILE_CHANGES)
def test_a_document_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(NotADocument):
        read_document(_changed(HOSTILE_CHANGES[name]))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\n",
        lambda data: data.replace(b'"format": 1', b'"format":1'),
        lambda data: data.replace(b"{\n", b'{\n "format": 1,\n', 1),
        lambda data: data.replace(b"A small one", b"A sm\\u0061ll one"),
        lambda data: data[:-10],
        lambda _data: b"[" * 100_000,
        lambda _data: b'{"format": ' + b"9" * 100_000 + b"}",
        lambda _data: b"\xff\xfe",
        lambda data: data + b" " * (5 * 1024 * 1024),
    ],
)
def test_a_second_spelling_of_a_document_is_refused(change: Any) -> None:
    data = canonical(document(results()))
    assert read_document(data)
    with pytest.raises(NotADocument):
        read_document(change(data))


def test_a_passed_row_has_no_reason() -> None:
    assert [entry.reason for entry in read(results([row("x")])).checks] == ["-"]
    assert read(results([row("x", Outcome(Status.SKIPPED, "switched-off"))])).decision == "NO-GO"
