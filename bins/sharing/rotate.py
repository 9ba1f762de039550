"""`space rotate`: check who asks, connect, and run a `Rotator`."""

from collections.abc import Sequence
from pathlib import Path

from auth import AuthError, Permission, decode_did_key
from bins.folder.errors import UsageProblem
from bins.sharing.rotation import Rotator
from bins.sharing.session import Options, Output, bound, connected, own


async def rotate_folder(options: Options, folder: Path, remove: Sequence[str], output: Output) -> None:
    """Rotate the keys of the folder's space, and remove members.

    Raises:
        UsageProblem: not an administrator, or somebody is to be removed who cannot be.
        FolderError: see `connected` and `Rotator.run`.
    """
    person = options.person()
    file, shared, grant = bound(folder)
    own(grant, person)
    if not grant.permission.covers(Permission.ADMIN):
        raise UsageProblem("only who administers the space can rotate its keys")
    for did in remove:
        if did == person.did:
            raise UsageProblem("you cannot remove yourself: who would hand out the new key?")
        try:
            decode_did_key(did)
        except AuthError as error:
            raise UsageProblem("--remove is not the did:key of a P-256 key") from error
    if shared.rotation is not None:
        output.hint("going on with a rotation that was interrupted")
    async with connected(options, person, grant=grant) as client:
        await Rotator(client, file, person, grant, output).run(remove)
