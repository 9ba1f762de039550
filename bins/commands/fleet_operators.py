"""The commands `fleet admin` and `fleet audit`: who may sign in at a plane, and who changed what there."""

import json as json_texts
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from getpass import getpass
from typing import Annotated, Any, Final

import typer

from less_sync.bins.commands.fleet_client import (
    EXIT_CODES,
    FAILURE,
    USAGE,
    FleetClient,
    FleetProblem,
    asks_plane,
    tell,
)
from less_sync.bins.commands.fleet_shown import Yes, confirm, is_id, told
from less_sync.bins.errors import print_error
from less_sync.client.folder.paths import shown

PASSWORD_BYTES_MAX: Final = 4096
LISTED: Final = 50
CONFLICT: Final = 409
_USERS: Final = "/platform/v1/users"
_AUDIT: Final = "/platform/v1/audit"

Username = Annotated[str, typer.Argument(metavar="NAME", help="3 to 64 of a-z, 0-9, . _ @ -")]


def add_operators(fleet: typer.Typer) -> None:
    """Add both to the group `fleet`."""
    admin = typer.Typer(
        name="admin",
        help="Who may sign in at the plane's pages.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name, command in (
        ("create", create),
        ("list", list_),
        ("passwd", passwd),
        ("role", role),
        ("disable", disable),
        ("enable", enable),
        ("remove", remove),
    ):
        admin.command(name, epilog=EXIT_CODES)(asks_plane(command))
    fleet.add_typer(admin)
    fleet.command(epilog=EXIT_CODES, short_help="Show who changed what at the plane, or verify the trail.")(
        asks_plane(audit)
    )


def create(
    username: Username,
    *,
    role: Annotated[str, typer.Option(metavar="ROLE", help="viewer, operator or admin.")] = "admin",
    plane: FleetClient,
    json: bool,
) -> None:
    """Make an operator of the plane.

    The password is asked for twice, or read from standard input: its first line.
    """
    body = {"username": username, "password": _new_password(), "role": role}
    user = plane.ask("POST", _USERS, body=body).get("user", {})
    tell(json, user, f"made {username}, {role}")


def passwd(username: Username, *, plane: FleetClient, json: bool) -> None:
    """Give an operator of the plane another password.

    This unlocks the account and ends its sessions. The password is asked for twice, or read from standard
    input: its first line.
    """
    found = _found(plane, username)
    user = plane.ask("PATCH", f"{_USERS}/{found['id']}", body={"password": _new_password()}).get("user", {})
    tell(json, user, f"changed the password of {username}, whose sessions have ended")


def role(
    username: Username,
    wanted: Annotated[str, typer.Argument(metavar="ROLE", help="viewer, operator or admin.")],
    *,
    plane: FleetClient,
    json: bool,
) -> None:
    """Let an operator of the plane do more, or less.

    This ends the operator's sessions.
    """
    _change(plane, username, {"role": wanted}, wanted, as_json=json)


def disable(username: Username, *, plane: FleetClient, json: bool) -> None:
    """Let an operator sign in no more, and end the sessions."""
    _change(plane, username, {"disabled": True}, "disabled", as_json=json)


def enable(username: Username, *, plane: FleetClient, json: bool) -> None:
    """Let an operator of the plane sign in again."""
    _change(plane, username, {"disabled": False}, "enabled", as_json=json)


def remove(username: Username, *, yes: Yes = False, plane: FleetClient, json: bool) -> None:
    """Remove an operator of the plane, and end the sessions.

    Asks first. What the operator did stays in the trail.
    """
    found = _found(plane, username)
    confirm(f"Remove {shown(username)}, {shown(str(found.get('role')))}?", yes=yes)
    answer = _keeping_an_admin(plane, "DELETE", found)
    tell(json, {**answer, "id": found["id"]}, f"removed {username}")


def list_(*, plane: FleetClient, json: bool) -> None:
    """List the operators of the plane."""
    for user in plane.rows(_USERS, "users"):
        state = "disabled" if user.get("disabled") else "enabled"
        seen = user.get("last_login_at") or "never signed in"
        tell(json, user, f"{user.get('username')}  {user.get('role')}  {state}  {seen}")


def audit(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="verify", show_default=False, help="Instead: check every row, and name a broken one."
        ),
    ] = None,
    *,
    actor: Annotated[str | None, typer.Option(metavar="NAME", help="As the trail has it.")] = None,
    action: Annotated[str | None, typer.Option(metavar="NAME", help="operator.create, say.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="ID", help="Of what was changed.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="As 2026-01-31T12:00:00Z.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = LISTED,
    plane: FleetClient,
    json: bool,
) -> None:
    """Show who changed what at the plane, newest first.

    `verify` walks the whole trail: each row holds a hash of itself and of the row before it, so one that was
    altered, removed or put in breaks the chain. Rows cut off at its end leave no trace there: note the last
    row and its hash, which are printed.
    """
    filters = {"actor": actor, "action": action, "subject": subject, "since": since}
    given = {name: text for name, text in filters.items() if text is not None}
    if word == "verify":
        if given:
            raise FleetProblem("verify looks at all rows", USAGE)
        _tell_verdict(verify(plane.rows(_AUDIT, "entries")), as_json=json)
        return
    if word is not None:
        raise FleetProblem("the only word that goes here is verify", USAGE)
    for entry in plane.rows(_AUDIT, "entries", given, at_most=limit):
        subject_ = f"{entry.get('subject_type')} {entry.get('subject_id')}"
        detail = json_texts.dumps(entry.get("detail"))
        tell(
            json,
            entry,
            f"{entry.get('at')}  {entry.get('actor')}  {entry.get('action')}  {subject_}  {detail}",
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a trail.

    Attributes:
        rows: how many there are.
        last: the id and hash of the last one; None without any.
        broken: the id of the first that is not as it was written, or follows another than it did.
        why: in words.
    """

    rows: int
    last: tuple[int, str] | None
    broken: int | None = None
    why: str = ""


def verify(newest_first: Iterable[Mapping[str, Any]]) -> Verdict:
    """Check the chain.

    Raises:
        FleetProblem: a row is none.
    """
    from less_sync.fleet.store.audit import FIRST, row_hash

    count, last, newer = 0, None, None
    broken: tuple[int | None, str] = (None, "")
    try:
        for entry in newest_first:
            count += 1
            last = last or (entry["id"], entry["hash"])
            if newer is not None and newer["prev_hash"] != entry["hash"]:
                broken = newer["id"], "it does not follow the row before it"
            if row_hash(bytes.fromhex(entry["prev_hash"]), entry).hex() != entry["hash"]:
                broken = entry["id"], "it is not as it was written"
            newer = entry
    except (KeyError, TypeError, ValueError):
        raise FleetProblem("the answer is not that of a plane: a row of the trail is none") from None
    if newer is not None and newer["prev_hash"] != FIRST.hex():
        broken = broken if broken[0] == newer["id"] else (newer["id"], "rows before it are missing")
    return Verdict(count, last, *broken)


def _found(plane: FleetClient, username: str) -> dict[str, Any]:
    for one in plane.rows(_USERS, "users"):
        if told(one, _named)["username"] == username:
            return one
    raise FleetProblem(f"there is no operator {username}; `less-sync fleet admin list` lists them")


def _named(user: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(user["username"], str) or not is_id(user["id"]):
        raise ValueError("an operator without a name or id")
    return user


def _change(
    plane: FleetClient, username: str, change: Mapping[str, object], state: str, *, as_json: bool
) -> None:
    """Change an operator, and say what they are now; a change that is none ends no session."""
    found = _found(plane, username)
    answer = _keeping_an_admin(plane, "PATCH", found, change)
    same = all(found.get(name) == wanted for name, wanted in change.items())
    words = "already" if same else "now" if state == "enabled" else "now, and signed out"
    tell(as_json, told(answer, lambda one: dict(one["user"])), f"{username} is {state} {words}")


def _keeping_an_admin(
    plane: FleetClient, method: str, found: Mapping[str, Any], body: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """What the plane answers; it lets nobody take its last enabled admin, by 409."""
    try:
        return plane.ask(method, f"{_USERS}/{found['id']}", body=body)
    except FleetProblem as problem:
        if problem.status != CONFLICT:
            raise
        raise FleetProblem(
            f"nothing was changed: {found['username']} is the last admin who may sign in; "
            "make or enable another one first",
            status=problem.status,
        ) from None


def _tell_verdict(verdict: Verdict, *, as_json: bool) -> None:
    last_id, last_hash = verdict.last or (None, None)
    row = {
        "entries": verdict.rows,
        "last_id": last_id,
        "last_hash": last_hash,
        "broken": verdict.broken,
        "why": verdict.why or None,
    }
    end = "" if last_id is None else f"; the last is {last_id}, {last_hash}"
    if verdict.broken is None:
        tell(as_json, row, f"{verdict.rows} rows, each as it was written{end}")
        return
    if as_json:
        tell(as_json, row, "")
    print_error(f"row {verdict.broken} is broken: {verdict.why}")
    raise typer.Exit(FAILURE)


def _new_password() -> str:
    """A password, of who sits at the terminal or of standard input; never an argument, which `ps` shows."""
    if sys.stdin.isatty():
        try:
            password = getpass("Password: ")
            again = getpass("Again: ")
        except EOFError:
            raise FleetProblem("no password", USAGE) from None
        if password != again:
            raise FleetProblem("these were two passwords", USAGE)
    else:
        try:
            password = sys.stdin.buffer.readline(PASSWORD_BYTES_MAX).decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise FleetProblem("the password is not UTF-8", USAGE) from None
    if not password:
        raise FleetProblem("no password", USAGE)
    return password
