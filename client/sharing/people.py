"""`space members`, `invite`, `accept`: who is in, and letting people in through their mailboxes."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from less_sync.auth import AuthError, ucan_cid
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.shared import SharedFile, SharedSpace, grant_of
from less_sync.client.sharing.addresses import Address
from less_sync.client.sharing.bundle import BUNDLE_CHARS_MAX, Bundle, NotForUs, make_bundle, open_bundle
from less_sync.client.sharing.elsewhere import make_known, own_domain, with_home
from less_sync.client.sharing.entering import enter
from less_sync.client.sharing.entries import MEMBER, Entry
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import append_entry, entry_by, read_log, standing
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected, own
from less_sync.client.sharing.spaces import Invitee, delegated, withdraw
from less_sync.client.times import when
from less_sync.sync.client import RequestFailed, SyncClient
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import Invitation

MAILBOX_PAGE: Final = 20
"""At most 20 invitations of 128 KiB fit into a frame."""
MAILBOX_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """An invitation in our mailbox that opens with our key."""

    invitation: Invitation
    bundle: Bundle

    def __repr__(self) -> str:
        return f"Waiting({self.bundle.space})"


async def members(options: Options, folder: Path, output: Output) -> None:
    """Tell who is in the space, by its log and by the tokens made in this folder.

    Raises:
        FolderError: see `connected` and `read_log`.
    """
    person = options.person()
    file, _, grant = bound(folder)
    own(grant, person)
    async with connected(options, person, grant=grant) as client:
        epoch = (await standing(client, grant.ucan)).epoch
        log, shared = await read_log(client, file, person, epoch=epoch)
    for member in log.members.values():
        _tell_member(output, member.did, member.permission.name.lower(), member.expires_at, person)
    for note in shared.delegated:
        if not note.revoked and note.did not in log.members and note.cid not in log.revoked:
            _tell_member(output, note.did, note.permission, note.expires_at, person, "invited from here")
    if log.passed_over:
        text = (
            f"{log.passed_over} entries of the log were passed over: unreadable, or nobody allowed wrote them"
        )
        output.tell("passed_over", text, count=log.passed_over)


def _tell_member(
    output: Output, did: str, permission: str, expires_at: int, person: Person, note: str = ""
) -> None:
    note = "you" if did == person.did else note
    ended = expires_at < time.time()
    until = f"{'ended' if ended else 'until'} {when(expires_at)}"
    text = f"{did}  {permission}, {until}{f' ({note})' if note else ''}"
    fields = {"permission": permission, "expires_at": expires_at, "you": did == person.did}
    output.tell("member", text, did=did, **fields)


async def invite(options: Options, folder: Path, invitee: Invitee, address: Address, output: Output) -> None:
    """Note a new member in the log and leave the bundle in their mailbox.

    The log entry comes first, and on top of all that was read: whoever rotates the keys after it gives the
    new one to the invitee too, and every key from before it is in the bundle.

    Raises:
        UsageProblem: not a P-256 DID, or more than we have ourselves.
        FolderError: see `connected`; where only the home of the space lets people in, nothing was changed.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    elsewhere = {} if not address.server else {"at": address.server, "home": _home(options, shared, address)}
    ucan = delegated(file, grant, person, invitee)
    async with connected(options, person, grant=grant) as client:
        shared = await _noted(client, file, person, ucan)
        shared = msgspec.structs.replace(shared, home=elsewhere.get("home", shared.home))
        sent = await _left(client, address, make_bundle(ucan, shared, person))
    expires_at = _seconds(sent.expires_at)
    until = "" if expires_at is None else f" until {when(expires_at)}"
    text = f"invited to {invitee.permission.name.lower()}; the invitation waits{until}"
    if elsewhere:
        text += f" at {elsewhere['at']}, for a space at {elsewhere['home']}"
    output.tell("invited", text, id=sent.id, expires_at=expires_at, did=invitee.did, **elsewhere)


def _home(options: Options, shared: SharedSpace, address: Address) -> str:
    return address.home or shared.home or own_domain(options)


async def _noted(client: SyncClient, file: SharedFile, person: Person, ucan: str) -> SharedSpace:
    """Have a new UCAN in the log, and return what there is to know of the space by then."""
    did, cid = grant_of(ucan).audience, ucan_cid(ucan)

    def arrival(log: MemberLog, shared: SharedSpace) -> Entry | None:
        member = log.members.get(did)
        if member is not None and cid in member.cids:
            return None
        return msgspec.structs.replace(entry_by(person, shared, MEMBER), ucan=ucan)

    try:
        _, shared = await append_entry(client, file, person, arrival)
    except RequestFailed as error:
        if error.hosted_elsewhere:
            withdraw(file, ucan)
        raise
    return shared


async def _left(client: SyncClient, address: Address, bundle: str) -> Invitation:
    """Leave a bundle in a mailbox, here or at another server."""
    try:
        return await client.invitation_create(address.mailbox_id, bundle, server=address.server)
    except RequestFailed as error:
        if error.code != ErrorCode.BAD_REQUEST or not address.server:
            raise
        raise FolderError(
            f"your server leaves no invitation at {address.server}: {error.message}",
            "its operator can trust that server; `less-sync space revoke --to` takes the token back",
        ) from error


def _seconds(text: str) -> int | None:
    """A time of the server's in Unix seconds; None where it told none, as for a mailbox elsewhere."""
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None


async def mailbox(client: SyncClient, person: Person) -> tuple[list[Waiting], int]:
    """What waits in our mailbox and opens, oldest first, and how many others there are."""
    found: list[Waiting] = []
    others, after = 0, ""
    while len(found) + others < MAILBOX_MAX:
        page = await client.invitation_list(limit=MAILBOX_PAGE, after=after)
        if not page:
            break
        for invitation in page:
            try:
                if len(invitation.payload) > BUNDLE_CHARS_MAX:
                    raise NotForUs("too long")
                found.append(Waiting(invitation, open_bundle(invitation.payload, person)))
            except (UsageProblem, AuthError):
                others += 1
        after = page[-1].id
    return found, others


async def list_mailbox(options: Options, output: Output) -> None:
    """Tell what waits in our mailbox.

    Raises:
        FolderError: see `connected`.
    """
    person = options.person()
    async with connected(options, person, grant=None) as client:
        found, others = await mailbox(client, person)
    for waiting in found:
        grant = grant_of(waiting.bundle.ucan)
        text = (
            f"{waiting.invitation.id}  space {waiting.bundle.space}: {grant.permission.name.lower()},"
            f" until {when(grant.expires_at)}, from {waiting.bundle.token.issuer}"
        )
        elsewhere = {"home": waiting.bundle.home} if waiting.bundle.home else {}
        if elsewhere:
            text += f", at {waiting.bundle.home}"
        output.tell(
            "invitation",
            text,
            id=waiting.invitation.id,
            space=str(waiting.bundle.space),
            permission=grant.permission.name.lower(),
            expires_at=grant.expires_at,
            issuer=waiting.bundle.token.issuer,
            **elsewhere,
        )
    if not found:
        output.tell("empty", "no invitation waits")
    if others:
        output.tell("others", f"{others} messages that are no invitation for your key", count=others)


async def accept(
    options: Options,
    folder: Path,
    invitation_id: str | None,
    output: Output,
    *,
    force: bool,
    home: str | None = None,
) -> None:
    """Enter the space of an invitation in our mailbox and remove it from there.

    Args:
        home: the domain of the space's home server, instead of what the invitation says.

    Raises:
        UsageProblem: none waits, or several do and `invitation_id` names none of them; or as `enter`.
        FolderError: see `connected`; or our server takes no spaces from their home: the invitation stays.
    """
    person = options.person()
    async with connected(options, person, grant=None) as client:
        found, _ = await mailbox(client, person)
        chosen = _chosen(found, invitation_id)
        bundle = with_home(chosen.bundle, home)
        await make_known(client, bundle)
        enter(person, folder, bundle, output, force=force)
        # Only now: a crash before it leaves the invitation where it is, and accepting again does no harm.
        for waiting in found:
            if waiting.bundle.ucan == chosen.bundle.ucan:
                await client.invitation_delete(waiting.invitation.id)


def _chosen(found: list[Waiting], invitation_id: str | None) -> Waiting:
    if invitation_id is not None:
        found = [waiting for waiting in found if waiting.invitation.id == invitation_id.lower()]
    spaces = {waiting.bundle.space for waiting in found}
    if not found:
        raise UsageProblem(
            "no such invitation waits in your mailbox", "`less-sync space accept` lists what waits"
        )
    if len(spaces) > 1:
        raise UsageProblem(
            "invitations to several spaces wait", "--id says which; without DIR they are listed"
        )
    return found[-1]
