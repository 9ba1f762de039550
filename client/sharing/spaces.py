"""`space create`, `invite-token`, `revoke`: who is let into a shared space, and who no longer.

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
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import AuthError, Permission, decode_did_key, delegate, parse_ucan, ucan_cid
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.shared import Delegation, Grant, SharedFile, SharedSpace
from less_sync.client.folder.state import FolderState, disk_errors
from less_sync.client.kept_key import KeyFileError, kept_key
from less_sync.client.sharing.bundle import bundled_ucan, make_bundle
from less_sync.client.sharing.domains import domain_of
from less_sync.client.sharing.log_access import note_removal
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected, own

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


def root_grant(root: EllipticCurvePrivateKey, space: UUID, person: Person) -> str:
    """Let somebody administer a space in the name of its root key."""
    return delegate(
        root,
        audience=person.did,
        permission=Permission.ADMIN,
        space_id=space,
        expires_at=int(time.time()) + OWN_LIFE_S,
        nonce=os.urandom(_NONCE_BYTES),
    )


def root_key_path(keys_dir: Path, space: UUID) -> Path:
    """Where the root key of a space is kept."""
    return keys_dir / "spaces" / f"{space}.root.pem"


async def create(options: Options, folder: Path, keys_dir: Path, output: Output) -> None:
    """Make a shared space on the server and bind the folder to it.

    The root key stays in `keys_dir`; nothing is sent to the server but its public half.

    Raises:
        UsageProblem: the folder is bound already.
        FolderError: see `connected`.
    """
    person = options.person()
    make_folder(folder)
    space, secret = uuid4(), secrets.token_bytes(_KEY_BYTES)
    root_file = root_key_path(keys_dir, space)
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
        ucan = root_grant(root, space, person)
        made = shared.update(lambda _: SharedSpace(space=space, ucan=ucan, keys={1: secret}))
        state.bind(space=space, fingerprint=made.fingerprint)
    text = f"space {space} is made, and {folder} is its folder\nits root key is in {root_file}: keep it safe"
    output.tell("created", text, space=str(space), folder=str(folder), root_key_file=str(root_file))


def invite_token(options: Options, folder: Path, invitee: Invitee, *, home: str | None = None) -> str:
    """Delegate from the folder's own UCAN and return the bundle for the invitee. Needs no server.

    Args:
        home: the domain of the space's home server, for somebody on another one.

    Raises:
        UsageProblem: not a P-256 DID, no domain, or more than we have ourselves.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    if home is not None:
        shared = msgspec.structs.replace(shared, home=domain_of(home, "--home"))
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


def withdraw(file: SharedFile, ucan: str) -> None:
    """Forget a UCAN that was noted and that nobody was given."""
    cid = ucan_cid(ucan)

    def without(now: SharedSpace | None) -> SharedSpace:
        if now is None:
            raise FolderError("the folder was unbound from its space meanwhile")
        return msgspec.structs.replace(now, delegated=tuple(one for one in now.delegated if one.cid != cid))

    file.update(without)


def make_folder(folder: Path) -> None:
    """Make the directory if there is none.

    Raises:
        FolderError: it cannot be made.
    """
    with disk_errors(f"cannot make {folder}"):
        folder.mkdir(parents=True, exist_ok=True)


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
        await note_removal(client, file, person, cids)


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
