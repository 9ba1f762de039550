"""`space join` and `recover`: how a folder comes by its access to a space, and does not lose a better one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import parse_chain, ucan_cid
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.shared import Grant, SharedFile, SharedSpace, grant_of
from less_sync.client.folder.state import FolderState
from less_sync.client.kept_key import KeyFileError, kept_key
from less_sync.client.sharing.bundle import Bundle, open_bundle
from less_sync.client.sharing.elsewhere import make_known, with_home
from less_sync.client.sharing.entries import MEMBER, Entry
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import append_entry, entry_by
from less_sync.client.sharing.person import Person
from less_sync.client.sharing.session import Options, Output, bound, connected
from less_sync.client.sharing.spaces import make_folder, root_grant, root_key_path
from less_sync.client.times import when


async def join(
    options: Options, folder: Path, text: str, output: Output, *, force: bool, home: str | None = None
) -> None:
    """Open a bundle with our DID key, bind the folder to its space, and tell the members if we may.

    Telling the members, so that the next key reaches us whoever makes it, may fail: we are in nonetheless.

    Args:
        home: the domain of the space's home server, instead of what the bundle says.

    Raises:
        UsageProblem: not a bundle for us, or as `enter`.
        FolderBusy: a command works in the folder.
        FolderError: the home is another server, and ours is not there or takes nothing from that.
    """
    person = options.person()
    bundle = with_home(open_bundle(text, person), home)
    if bundle.home:
        async with connected(options, person, grant=None) as client:
            await make_known(client, bundle)
    enter(person, folder, bundle, output, force=force)
    await _tell_members(options, folder, person, output)


def enter(person: Person, folder: Path, bundle: Bundle, output: Output, *, force: bool) -> None:
    """Bind a folder to the space of an opened bundle.

    Access that the folder has already is kept beside. Without `force` it is replaced only by what comes from
    the same root key and gives the same person as much for as long, or anything when it has ended.

    Raises:
        UsageProblem: the folder belongs to another space, or has access that would be lost.
        FolderBusy: a command works in the folder.
    """
    assert bundle.token.audience == person.did, "only a bundle for us opens"
    make_folder(folder)
    joined = SharedSpace(
        space=bundle.space, ucan=bundle.ucan, keys=dict(bundle.keys), log=bundle.log, home=bundle.home
    )

    def entered(former: SharedSpace | None) -> SharedSpace:
        if former is None:
            return joined
        if former.space != joined.space:
            raise UsageProblem(f"this is the folder of another shared space, {former.space}")
        if not force:
            _check_better(grant_of(former.ucan), grant_of(joined.ucan))
        log = joined.log if force else max(former.log, joined.log, key=lambda place: place.entries)
        made = _of(person, former, joined.ucan).with_keys(joined.keys)
        return msgspec.structs.replace(made, log=log, home=joined.home or former.home)

    _bind(folder, entered, joined, "joined", output)


def _check_better(former: Grant, new: Grant) -> None:
    hint = "--force takes the new one and keeps this one beside; another folder needs no --force"
    if former.audience != new.audience:
        raise UsageProblem(
            f"this folder is in the space by the access of somebody else, {former.audience}", hint
        )
    if _root_of(former.ucan) != _root_of(new.ucan):
        raise UsageProblem("the bundle's token comes from another root key than this folder's", hint)
    if former.expires_at < time.time():
        return
    if new.permission < former.permission or new.expires_at < former.expires_at:
        raise UsageProblem(
            f"this folder's access is better: {_extent(former)}; the new one is {_extent(new)}", hint
        )


def _root_of(ucan: str) -> bytes:
    return parse_chain(ucan).links[-1].issuer_key


def _extent(grant: Grant) -> str:
    return f"{grant.permission.name.lower()}, until {when(grant.expires_at)}"


@dataclass(frozen=True, slots=True)
class RootKey:
    """Where the root key of a space is: in `file`, else in the directory of the key file."""

    keys_dir: Path
    file: Path | None = None

    def load(self, space: UUID) -> EllipticCurvePrivateKey:
        """Read it.

        Raises:
            UsageProblem: there is none, or it cannot be read.
        """
        path = self.path(space)
        if not path.exists():
            raise UsageProblem(
                f"there is no root key {path}", "--root-key names it; only who made the space has it"
            )
        try:
            return kept_key(path)
        except KeyFileError as error:
            raise UsageProblem(str(error)) from error

    def path(self, space: UUID) -> Path:
        """Its file."""
        return self.file or root_key_path(self.keys_dir, space)


async def recover(options: Options, folder: Path, root_key: RootKey, output: Output) -> None:
    """Give ourselves a new token from the root key of the folder's space, and tell the members.

    The keys of the space come from what the folder has, or had: no root key opens anything.

    Raises:
        UsageProblem: no keys are known here, or the root key is missing or that of another space.
        FolderBusy: a command works in the folder.
    """
    person = options.person()
    file = SharedFile(folder)
    current = file.load()
    known = [shared for shared in (current, *file.kept()) if shared is not None]
    if not known:
        raise UsageProblem(
            f"{folder} has no keys of a shared space, and a root key opens nothing",
            "join with a bundle of any member first (one for reading is enough), then recover",
        )
    space = known[0].space
    known = [shared for shared in known if shared.space == space]
    root = root_key.load(space)
    public = root.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    if public not in {_root_of(shared.ucan) for shared in known}:
        raise UsageProblem(f"{root_key.path(space)} is not the root key of space {space}")
    ucan = root_grant(root, space, person)

    def recovered(former: SharedSpace | None) -> SharedSpace:
        made = _of(person, former or known[0], ucan)
        for other in known:
            made = made.with_keys(other.keys)
        own = (one.delegated for one in (made, *known) if grant_of(one.ucan).audience == person.did)
        return msgspec.structs.replace(made, delegated=next((notes for notes in own if notes), ()))

    _bind(folder, recovered, known[0], "recovered", output)
    await _tell_members(options, folder, person, output)


def _of(person: Person, former: SharedSpace, ucan: str) -> SharedSpace:
    """The same with a token for this person. What somebody else handed out and has begun is not theirs."""
    if grant_of(former.ucan).audience == person.did:
        return msgspec.structs.replace(former, ucan=ucan)
    return msgspec.structs.replace(former, ucan=ucan, delegated=(), rotation=None)


def _bind(
    folder: Path,
    change: Callable[[SharedSpace | None], SharedSpace],
    wanted: SharedSpace,
    event: str,
    output: Output,
) -> None:
    """Change the access of a folder, keep what it was, and tell both."""
    file = SharedFile(folder)
    kept: list[Path] = []

    def keeping(former: SharedSpace | None) -> SharedSpace:
        made = change(former)
        if former is not None and former.ucan != made.ucan:
            kept.append(file.keep(former))
        return made

    with FolderState.open(folder) as state:
        state.check(space=wanted.space, fingerprint=wanted.fingerprint)
        shared = file.update(keeping)
        state.bind(space=shared.space, fingerprint=shared.fingerprint)
    grant = grant_of(shared.ucan)
    fields = {"permission": grant.permission.name.lower(), "expires_at": grant.expires_at}
    text = f"{event} space {shared.space}: {_extent(grant)}"
    output.tell(event, text, space=str(shared.space), folder=str(folder), **fields)
    for path in kept:
        output.hint(f"the folder's former access is kept in {path}")


async def _tell_members(options: Options, folder: Path, person: Person, output: Output) -> None:
    file, shared, grant = bound(folder)
    if grant.read_only:
        return
    cid = ucan_cid(shared.ucan)

    def arrival(log: MemberLog, shared: SharedSpace) -> Entry | None:
        member = log.members.get(person.did)
        known = member is not None and cid in member.cids
        entry = entry_by(person, shared, MEMBER)
        return None if known else msgspec.structs.replace(entry, ucan=shared.ucan)

    try:
        async with connected(options, person, grant=grant) as client:
            await append_entry(client, file, person, arrival)
    except FolderError as error:
        output.hint(f"the other members could not be told: {error}")
