"""`space create`, `invite-token`, `join`, `revoke`: who is let into a shared space, and who no longer.

What was handed out is noted in the folder before anybody can have it, so that it can be taken back.
"""

import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import AuthError, Permission, decode_did_key, delegate, parse_ucan, ucan_cid
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.shared import Delegation, Grant, SharedFile, SharedSpace
from less_sync.client.folder.state import FolderState, disk_errors
from less_sync.client.kept_key import KeyFileError, kept_key
from less_sync.client.sharing.bundle import Bundle, bundled_ucan, make_bundle, open_bundle
from less_sync.client.sharing.entries import MEMBER, Entry
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import append_entry, entry_by, removal_of
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected, own, when

OWN_LIFE_S: Final = 10 * 365 * 86_400
"""Of the token a space's creator gives to themselves: the root key beside it could make another anyway."""
DELEGATIONS_MAX: Final = 10_000

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Invitee:
    """Who is to be let in, to do what, until when (Unix seconds)."""

    did: str
    permission: Permission
    expires_at: int

    def __repr__(self) -> str:
        return f"Invitee({self.permission.name})"


async def create(options: Options, folder: Path, keys_dir: Path, output: Output) -> None:
    """Make a shared space on the server and bind the folder to it.

    The root key stays in `keys_dir`; nothing is sent to the server but its public half.

    Raises:
        UsageProblem: the folder is bound already.
        FolderError: see `connected`.
    """
    person = options.person()
    _make(folder)
    space, secret = uuid4(), secrets.token_bytes(_KEY_BYTES)
    root_file = keys_dir / "spaces" / f"{space}.root.pem"
    shared = SharedFile(folder)
    with FolderState.open(folder) as state:
        if shared.load() is not None:
            raise UsageProblem(f"{folder} is the folder of a shared space already")
        state.check(space=space, fingerprint="")
        async with connected(options, person, grant=None) as client:
            try:
                root = kept_key(root_file)
            except KeyFileError as error:
                raise FolderError(str(error)) from error
            public = root.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
            await client.space_create(str(space), public)
        ucan = delegate(
            root,
            audience=person.did,
            permission=Permission.ADMIN,
            space_id=space,
            expires_at=int(time.time()) + OWN_LIFE_S,
            nonce=os.urandom(_NONCE_BYTES),
        )
        made = shared.update(lambda _: SharedSpace(space=space, ucan=ucan, keys={1: secret}))
        state.bind(space=space, fingerprint=made.fingerprint)
    text = f"space {space} is made, and {folder} is its folder\nits root key is in {root_file}: keep it safe"
    output.tell("created", text, space=str(space), folder=str(folder), root_key_file=str(root_file))


def invite_token(options: Options, folder: Path, invitee: Invitee) -> str:
    """Delegate from the folder's own UCAN and return the bundle for the invitee. Needs no server.

    Raises:
        UsageProblem: not a P-256 DID, or more than we have ourselves.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    return make_bundle(delegated(file, grant, person, invitee), shared, person)


def delegated(file: SharedFile, grant: Grant, person: Person, invitee: Invitee) -> str:
    """Make a UCAN for the invitee and note it in the folder, before anybody can have it.

    Raises:
        UsageProblem: not a P-256 DID, or more than we have ourselves.
    """
    try:
        decode_did_key(invitee.did)
    except AuthError as error:
        raise UsageProblem(
            "--to is not the did:key of a P-256 key", "`less-sync key did` prints one's own"
        ) from error
    if not grant.permission.covers(invitee.permission):
        wanted, have = invitee.permission.name.lower(), grant.permission.name.lower()
        raise UsageProblem(f"you cannot pass on {wanted}: your own access is {have}")
    ucan = delegate(
        person.key,
        audience=invitee.did,
        permission=invitee.permission,
        space_id=UUID(parse_ucan(grant.ucan).resource.removeprefix("space:")),
        expires_at=invitee.expires_at,
        nonce=os.urandom(_NONCE_BYTES),
        proof=grant.ucan,
    )
    file.update(lambda now: _noting(now, ucan, invitee))
    return ucan


def _noting(shared: SharedSpace | None, ucan: str, invitee: Invitee) -> SharedSpace:
    if shared is None:
        raise FolderError("the folder was unbound from its space meanwhile")
    token = parse_ucan(ucan)
    note = Delegation(
        did=invitee.did,
        cid=token.cid,
        permission=invitee.permission.name.lower(),
        expires_at=token.expires_at or 0,
    )
    if len(shared.delegated) >= DELEGATIONS_MAX:
        raise UsageProblem("this folder has handed out too many tokens")
    return msgspec.structs.replace(shared, delegated=(*shared.delegated, note))


async def join(options: Options, folder: Path, text: str, output: Output) -> None:
    """Open a bundle with our DID key, bind the folder to its space, and tell the members if we may.

    A folder of the same space takes over the new UCAN, for instance after the old one has expired.
    Telling the members, so that the next key reaches us whoever makes it, may fail: we are in nonetheless.

    Raises:
        UsageProblem: not a bundle for us, or the folder belongs to another space.
        FolderBusy: a command works in the folder.
    """
    person = options.person()
    bundle = open_bundle(text, person)
    enter(person, folder, bundle, output)
    file, _, grant = bound(folder)
    if grant.read_only:
        return

    def arrival(log: MemberLog, shared: SharedSpace) -> Entry | None:
        member = log.members.get(person.did)
        known = member is not None and bundle.token.cid in member.cids
        entry = entry_by(person, shared, MEMBER)
        return None if known else msgspec.structs.replace(entry, ucan=bundle.ucan)

    try:
        async with connected(options, person, grant=grant) as client:
            await append_entry(client, file, person, arrival)
    except FolderError as error:
        output.hint(f"the other members could not be told: {error}")


def enter(person: Person, folder: Path, bundle: Bundle, output: Output) -> None:
    """Bind a folder to the space of an opened bundle.

    Raises: as `join`.
    """
    assert bundle.token.audience == person.did, "only a bundle for us opens"
    _make(folder)
    file = SharedFile(folder)
    with FolderState.open(folder) as state:
        joined = SharedSpace(space=bundle.space, ucan=bundle.ucan, keys=dict(bundle.keys), log=bundle.log)
        state.check(space=bundle.space, fingerprint=joined.fingerprint)
        kept = file.update(lambda former: _rejoined(former, joined))
        state.bind(space=kept.space, fingerprint=kept.fingerprint)
    permission = Permission.from_command(bundle.token.command).name.lower()
    until = when(bundle.token.expires_at or 0)
    text = f"joined space {bundle.space}: {permission}, until {until}"
    fields = {"permission": permission, "expires_at": bundle.token.expires_at}
    output.tell("joined", text, space=str(bundle.space), folder=str(folder), **fields)


def _make(folder: Path) -> None:
    with disk_errors(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


def _rejoined(former: SharedSpace | None, joined: SharedSpace) -> SharedSpace:
    if former is None:
        return joined
    if former.space != joined.space:
        raise UsageProblem(f"this is the folder of another shared space, {former.space}")
    log = max(former.log, joined.log, key=lambda place: place.entries)
    return msgspec.structs.replace(former.with_keys(joined.keys), ucan=joined.ucan, log=log)


@dataclass(frozen=True, slots=True)
class Revocation:
    """Which tokens to take back: exactly one of these is set."""

    cid: str | None = None
    bundle: str | None = None
    did: str | None = None


async def revoke(options: Options, folder: Path, what: Revocation, output: Output) -> None:
    """Take tokens back. Whoever holds one is cut off at once, and so is everybody they passed it on to.

    Raises:
        UsageProblem: nothing was handed out to that DID from this folder.
        FolderError: see `connected`.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    cids = _cids(shared, what)
    async with connected(options, person, grant=grant) as client:
        for cid in cids:
            await client.membership_revoke(str(shared.space), cid, ucan=shared.ucan)
            file.update(lambda now, cid=cid: _without(now or shared, cid))  # type: ignore[misc]  # now is typed by update
            output.tell("revoked", f"revoked: {cid}", space=str(shared.space), cid=cid)
        await append_entry(client, file, person, removal_of(cids, person))


def _cids(shared: SharedSpace, what: Revocation) -> list[str]:
    if what.cid is not None:
        return [what.cid.strip().lower()]
    if what.bundle is not None:
        text = what.bundle.strip()
        return [ucan_cid(bundled_ucan(text))]
    found = [note.cid for note in shared.delegated if note.did == what.did and not note.revoked]
    if not found:
        known = any(note.did == what.did for note in shared.delegated)
        raise UsageProblem(
            "all tokens for that DID are revoked already"
            if known
            else "no token for that DID was made from this folder",
            "--cid or --bundle names a token made elsewhere",
        )
    return found


def _without(shared: SharedSpace, cid: str) -> SharedSpace:
    notes = tuple(
        msgspec.structs.replace(note, revoked=True) if note.cid == cid else note for note in shared.delegated
    )
    return msgspec.structs.replace(shared, delegated=notes)
