"""docs/protocol.md says what the code does, and every reference to a section of docs/ leads somewhere."""

import ast
import re
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import pytest
from msgspec import Struct
from msgspec.structs import fields

from less_sync.sync.access.sign_in import AUTH_FAILURES
from less_sync.sync.limits import Limits
from less_sync.sync.protocol import codes, messages
from less_sync.sync.protocol.codes import Close, CloseCode, ErrorCode
from less_sync.sync.rpc.registry import METHODS, NOTIFICATIONS
from tests.sources import statements

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "protocol.md").read_text()
Shapes = list[tuple[str, type[Struct]]]
SHAPES: dict[str, Shapes] = {
    "token.refresh": [("params", messages.TokenRefreshParams), ("result", messages.TokenRefreshResult)],
    "session.info": [("params", messages.SessionInfoParams), ("result", messages.SessionInfo)],
    "space.create": [("params", messages.SpaceCreateParams), ("result", messages.SpaceCreateResult)],
    "subscribe": [("params", messages.SubscribeParams), ("result", messages.SubscribeResult)],
    "push": [("params", messages.PushParams), ("result", messages.PushResult)],
    "pull": [
        ("params", messages.PullParams),
        ("chunk pull.begin", messages.PullBegin),
        ("chunk pull.record", messages.PullRecord),
        ("chunk pull.membership", messages.PullMembership),
        ("chunk pull.file", messages.PullFile),
        ("chunk pull.commit", messages.PullCommit),
        ("result", messages.ChunkedResult),
    ],
    "membership.append": [
        ("params", messages.MembershipAppendParams),
        ("result", messages.MembershipAppendResult),
    ],
    "membership.list": [("params", messages.MembershipListParams), ("result", messages.MembershipListResult)],
    "membership.revoke": [("params", messages.MembershipRevokeParams), ("result", messages.Empty)],
    "invitation.create": [("params", messages.InvitationCreateParams), ("result", messages.Invitation)],
    "invitation.list": [("params", messages.InvitationListParams), ("result", messages.InvitationListResult)],
    "invitation.get": [("params", messages.InvitationGetParams), ("result", messages.Invitation)],
    "invitation.delete": [("params", messages.InvitationDeleteParams), ("result", messages.Empty)],
    "epoch.begin": [
        ("params", messages.EpochBeginParams),
        ("result", messages.EpochBegun),
        ("result", messages.EpochConflict),
    ],
    "epoch.complete": [("params", messages.EpochCompleteParams), ("result", messages.Empty)],
    "deks.get": [
        ("params", messages.DeksGetParams),
        ("chunk deks.record", messages.RecordDek),
        ("result", messages.DeksResult),
    ],
    "deks.rewrap": [("params", messages.DeksRewrapParams), ("result", messages.DeksRewrapResult)],
    "file.deks.get": [
        ("params", messages.DeksGetParams),
        ("chunk deks.files.record", messages.FileDek),
        ("result", messages.FileDeksResult),
    ],
    "file.deks.rewrap": [("params", messages.DeksRewrapParams), ("result", messages.DeksRewrapResult)],
}
SENT: dict[str, Shapes] = {
    "unsubscribe": [("params", messages.UnsubscribeParams)],
    "presence.set": [("params", messages.PresenceSetParams)],
    "presence.clear": [("params", messages.PresenceClearParams)],
    "event.send": [("params", messages.EventSendParams)],
}
HEARD: dict[str, Shapes] = {
    "sync": [("params", messages.SyncNotice)],
    "membership": [("params", messages.MembershipNotice)],
    "file": [("params", messages.FileNotice)],
    "revoked": [("params", messages.RevokedNotice)],
    "resubscribe": [("params", messages.ResubscribeNotice)],
    "invitation": [("params", messages.Empty)],
    "presence": [("params", messages.PresenceNotice)],
    "presence.leave": [("params", messages.PresenceLeaveNotice)],
    "event": [("params", messages.EventNotice)],
}
WHO = {
    "signed_in": "anybody signed in",
    "space_read": "who may read the space",
    "space_write": "who may write to the space",
    "space_admin": "who administers the space",
    "each_space_read": "decided for each space, who may read it",
}
"""How the page words the rules of `sync/access/rules.py`."""
ROWS = {row.name: row for row in METHODS.values()}


def part(title: str) -> str:
    """The text under a heading of the second level, whatever its number."""
    return re.split(rf"\n## \d+\. {re.escape(title)}\n", PAGE)[1].split("\n## ")[0]


def sections(title: str) -> dict[str, str]:
    """The sections of a part that are headed by a wire name."""
    parts = re.split(r"^### \d+\.\d+ `([a-z.]+)`\n", part(title), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def table(text: str) -> list[list[str]]:
    """The cells of a table's rows, without quotes, heading and rule."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


def type_name(kind: Any) -> str:
    if kind in (messages.I32, messages.I64):
        return "i32" if kind == messages.I32 else "i64"
    inner = [one for one in get_args(kind) if one is not NoneType]
    if get_origin(kind) is list:
        return f"[{type_name(inner[0])}]"
    if inner:
        return type_name(inner[0])
    return shape(kind) if issubclass(kind, Struct) else str(kind.__name__)


def shape(kind: type[Struct]) -> str:
    """A message as the page spells it."""
    pairs = (f"{one.encode_name}{'' if one.required else '?'}: {type_name(one.type)}" for one in fields(kind))
    return "{" + ", ".join(pairs) + "}"


def spelled(section: str) -> str:
    """The messages of a section, on one line."""
    (block,) = re.findall(r"^```\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\s+", " ", block).strip()


@pytest.mark.parametrize(
    ("title", "shapes"),
    [
        ("Methods", SHAPES),
        ("Notifications from clients", SENT),
        ("Notifications from the server", HEARD),
    ],
)
def test_every_message_is_spelled_with_its_fields_in_order(title: str, shapes: dict[str, Shapes]) -> None:
    found = {name: spelled(section) for name, section in sections(title).items()}
    assert found == {
        name: " ".join(f"{part} {shape(kind)}" for part, kind in parts) for name, parts in shapes.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_every_method_says_who_may_call_it_and_under_which_names(name: str) -> None:
    row, section = ROWS[name], sections("Methods")[name]
    (who,) = re.findall(r"^Who: (.*)\.$", section, flags=re.MULTILINE)
    assert who.startswith(WHO[row.rule])
    aliases = re.findall(r"^Aliases: (.*)\.$", section, flags=re.MULTILINE)
    assert aliases == ([", ".join(f"`{alias}`" for alias in row.aliases)] if row.aliases else [])


def test_the_methods_and_notifications_of_the_page_are_those_of_the_tables() -> None:
    assert ROWS.keys() == SHAPES.keys()
    assert NOTIFICATIONS.keys() == SENT.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_the_errors_of_a_method_begin_with_its_params_and_have_known_codes(name: str) -> None:
    rows = table(sections("Methods")[name])
    assert [code for code, *_ in rows if code not in set(ErrorCode)] == []
    assert rows[0][:2] == ["invalid_params", f"invalid {ROWS[name].label} params"]
    assert "invalid_params" not in [code for code, *_ in rows[1:]]


def test_every_error_code_is_listed_once() -> None:
    assert [code for code, _ in table(part("Error codes"))] == list(ErrorCode)


def test_every_close_is_listed_with_its_reason() -> None:
    closes = {value for value in vars(codes).values() if isinstance(value, Close)}
    closes |= {failure.close for failure in AUTH_FAILURES.values()}
    rows = [(int(code), reason) for code, reason, _ in table(part("Close codes"))]
    assert len(rows) == len(set(rows))
    assert {row for row in rows if row[1]} == {(int(close.code), close.reason) for close in closes}
    assert [code for code, _ in rows] == sorted(code for code, _ in rows)
    assert {code for code, _ in rows} == set(CloseCode)


def test_every_limit_has_the_default_of_the_code() -> None:
    defaults = Limits()
    for _, default, variable in table(part("Limits")):
        field = "record_blob_bytes" if variable == "MAX_RECORD_BLOB_SIZE" else variable[6:].lower()
        assert float(default) == getattr(defaults, field), variable


def test_numbers_in_the_text_are_those_of_the_limits() -> None:
    limits = Limits()
    presence_end_s = limits.presence_stale_s + limits.presence_sweep_s
    for phrase in (
        f"within {limits.auth_timeout_s:g} s",
        f"({limits.lifetime_s * 0.9:g} to {limits.lifetime_s * 1.1:g} s)",
        f"up to {limits.request_id_bytes} bytes",
        f"every {limits.keepalive_interval_s:g} s",
        f"for {limits.silence_timeout_s:g} s",
        f"more than {limits.spaces_per_session:,} spaces",
        f"more than {limits.spaces_per_subscribe} |",
        f"more than {limits.records_per_push:,} changes",
        f"a blob over {limits.record_blob_bytes >> 20} MiB",
        f"all blobs over {limits.push_blob_bytes >> 20} MiB",
        f"max {limits.membership_appends_per_window} membership appends per hour",
        f"max {limits.invitations_per_window} invitations per hour",
        f"over {limits.invitation_payload_bytes:,} bytes",
        f"{limits.invitation_list_default}, or `limit`, at most {limits.invitation_list_max}",
        f"exactly {limits.dek_bytes} bytes",
        f"{limits.transient_per_s} a second in the long run, {limits.transient_burst} at once",
        f"up to {limits.presence_bytes} bytes",
        f"up to {limits.event_bytes} bytes",
        f"At most {limits.presence_per_space} connections",
        f"after {limits.presence_stale_s:g} to {presence_end_s:g} s of silence",
        f"up to {limits.method_echo_chars} characters",
        f"exceed {limits.outbound_frame_bytes >> 20} MiB",
    ):
        assert phrase in " ".join(PAGE.split()), phrase


# References to sections. A comment may break a line between the page and the number.

NUMBERED = (
    *("protocol", "tokens", "storage", "operations", "files", "federation", "volume", "volume-format"),
    *("encryption", "ucan", "first-app", "scaling", "validation", "fleet"),
)
"""Pages whose sections are cited, by comments and by other pages."""
HEADING = re.compile(r"^(?:##|###) +(.*)$", re.MULTILINE)
NUMBER = re.compile(r"(\d+)\. |(\d+)\.(\d+) ")
NEW_LINE = re.compile(r"\n[ \t]*(?:#|--)?[ \t]*")
REFERENCE = re.compile(r"(?:docs/|\]\()([a-z-]+)\.md\)?((?:(?:,| and|, and| or| to)? \d+(?:\.\d+)?)*)")
WITHIN = re.compile(r"\bsections? (\d+(?:\.\d+)?)|\((\d{1,2}\.\d{1,2})(?![.\d])")
CITING = sorted(
    path
    for room in ROOT.iterdir()
    if room.is_dir() and not room.name.startswith(".") and room.name != "build"
    for pattern in ("*.py", "*.sql")
    for path in room.rglob(pattern)
)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def numbers(name: str) -> list[tuple[int, ...]]:
    """The numbers of a page's sections in the order they stand in; every heading has one."""
    found = []
    for heading in HEADING.findall((ROOT / "docs" / f"{name}.md").read_text()):
        number = NUMBER.match(heading)
        assert number is not None, f"{name}.md: {heading}"
        found.append(tuple(int(digits) for digits in number.groups() if digits))
    return found


SECTIONS = {name: {".".join(map(str, number)) for number in numbers(name)} for name in NUMBERED}


def dangling(text: str) -> list[str]:
    """The references of a text to pages, or sections of pages, that do not exist."""
    found = []
    for name, cited in REFERENCE.findall(NEW_LINE.sub(" ", text)):
        if not (ROOT / "docs" / f"{name}.md").exists() and not (ROOT / f"{name}.md").exists():
            found.append(name)
        found += [
            f"{name} {one}" for one in re.findall(r"[\d.]+", cited) if one not in SECTIONS.get(name, ())
        ]
    return found


@pytest.mark.parametrize("name", NUMBERED)
def test_the_sections_of_a_page_are_numbered_upwards_each_below_its_own_part(name: str) -> None:
    found = numbers(name)
    assert found == sorted(set(found))
    assert {number[:1] for number in found} == {number for number in found if len(number) == 1}


def test_every_reference_to_a_page_resolves() -> None:
    paths = [*CITING, *PAGES, ROOT / "Makefile"]
    found = {str(path.relative_to(ROOT)): dangling(path.read_text()) for path in paths}
    assert {name: broken for name, broken in found.items() if broken} == {}


@pytest.mark.parametrize("name", NUMBERED)
def test_every_reference_of_a_page_to_its_own_sections_resolves(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text()
    cited = {one or other for one, other in WITHIN.findall(NEW_LINE.sub(" ", text))}
    assert cited - SECTIONS[name] == set()
    assert cited or name == "volume-format"  # Its sections stand alone.


def test_references_are_recognised_in_all_the_forms_they_take() -> None:
    page = "docs/" + "tokens.md"
    assert dangling(f"see {page} 3.2 and 7.3, and {page}") == []
    assert dangling(f"# see {page}\n    # 99.1 for more") == ["tokens " + "99.1"]
    assert dangling(f"-- {page}\n-- 3.2, 99.2") == ["tokens 99.2"]
    assert dangling("[a page](" + "protocol.md) 99") == ["protocol 99"]
    assert dangling("docs/" + "settings.md 1.1") == ["settings 1.1"]
    assert dangling("docs/" + "nowhere.md") == ["nowhere"]


# What stands outside the repository cannot be looked up by whoever reads the code.

OUTSIDE = re.compile(
    r"""
      \bchapters?\b | \bspec(?:ification)?\b | \bERRATA\b | \bFACTS\b | \bDESIGN\b
    | \bG\d{1,2}\b | \bgap\ [A-Z]\d
    | (?<!docs/)\b(?:protocol|auth|storage|operations|tokens)(?:\.md)?\ \d
    | \bbehaviours?\ \d | \(\d{1,2}\.\d{1,2}\)
    """,
    re.VERBOSE,
)


def remarks(path: Path) -> str:
    """The comments of a source file, and of Python its docstrings, broken lines joined."""
    source = path.read_text()
    found = re.findall(r"(?:^|\s)(?:#|--) (.*)", source)
    if path.suffix == ".py":
        strings = (node.value for node in statements(ast.parse(source)) if isinstance(node, ast.Expr))
        found += [str(node.value) for node in strings if isinstance(node, ast.Constant)]
    return re.sub(r"\s+", " ", " ".join(found))


def test_no_comment_cites_what_is_not_in_the_repository() -> None:
    found = {
        str(path.relative_to(ROOT)): OUTSIDE.findall(remarks(path)) for path in [*CITING, ROOT / "Makefile"]
    }
    assert {name: cited for name, cited in found.items() if cited} == {}


@pytest.mark.parametrize(
    "text",
    [
        "(auth " + "chapter 3.4)",
        "(protocol " + "G15)",
        "(" + "G24)",
        "protocol\n    # " + "9.2",
        "the spec" + " says",
        "`sync` (" + "11.1)",
        "behaviours" + " 8-17",
    ],
)
def test_citations_of_something_outside_are_recognised(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(f"# {text}\n")
    (tmp_path / "two.py").write_text("# docs/protocol.md " + "7.4, RFC 6455 5.5.1 and G20s\n")
    assert OUTSIDE.search(remarks(tmp_path / "one.py"))
    assert not OUTSIDE.search(remarks(tmp_path / "two.py"))
