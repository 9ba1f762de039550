"""One folder command as the command line says it, and the space that its folder is bound to."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from less_sync.client.folder.access import ServerOption, TokenOptions
from less_sync.client.folder.changes import FILE_STORAGE_ABOVE_BYTES
from less_sync.client.folder.crypto import RecordCipher, SharedCipher
from less_sync.client.folder.engine import WatchTimes
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.exchange import EpochKeys
from less_sync.client.folder.identity import Who
from less_sync.client.folder.keyfile import KEY_BYTES, FolderKey, load_key, load_or_create_key
from less_sync.client.folder.plaintext import PART_BYTES_MAX
from less_sync.client.folder.shared import Grant, SharedFile, SharedSpace, grant_of


class Verb(StrEnum):
    """What to do with the folder."""

    PUSH = "push"
    PULL = "pull"
    WATCH = "watch"
    STATUS = "status"
    LIST = "ls"


@dataclass(frozen=True, slots=True)
class Job:
    """One command, as the command line says.

    Args:
        confirm: asks the person at the terminal a question; None where there is nobody to ask.
        dry_run: for push and pull: tell what would be done, and do nothing.
        accept_deletions: let a pull delete most of the folder.
        storage_above_bytes: content of more than this goes to file storage, if the server has one.
        part_bytes: plaintext of each part of such a content.
    """

    verb: Verb
    folder: Path
    server: ServerOption
    tokens: TokenOptions
    key_file: Path
    did_key_file: Path | None = None
    times: WatchTimes = field(default_factory=WatchTimes)
    confirm: Callable[[str], bool] | None = None
    dry_run: bool = False
    accept_deletions: bool = False
    storage_above_bytes: int = FILE_STORAGE_ABOVE_BYTES
    part_bytes: int = PART_BYTES_MAX

    @property
    def looks(self) -> bool:
        """Whether nothing is to be changed on either side."""
        return self.dry_run or self.verb in (Verb.STATUS, Verb.LIST)


@dataclass(frozen=True, slots=True)
class Binding:
    """The space a folder is kept in agreement with, and what opens it. `person` is the token's."""

    space: UUID
    fingerprint: str
    cipher: RecordCipher
    person: str
    grant: Grant | None = None
    keys: EpochKeys | None = None


def key_of(job: Job) -> tuple[FolderKey, bool]:
    """The key file's key, and whether it was made now. Who only looks makes none.

    Raises:
        UsageProblem: the file cannot be read or made, or holds no key.
    """
    if not job.looks:
        return load_or_create_key(job.key_file)
    try:
        return load_key(job.key_file), False
    except FileNotFoundError:
        return FolderKey(secrets.token_bytes(KEY_BYTES)), False


def personal_binding(space: UUID, key: FolderKey, person: str) -> Binding:
    """The binding to the personal space of a person: their DID, or name."""
    return Binding(space, key.fingerprint, RecordCipher(key, space), person)


def shared_binding(job: Job, shared: SharedSpace, who: Who) -> Binding:
    """The binding to the shared space of a folder.

    Raises:
        UsageProblem: it was shared with somebody else, where the server would only say `forbidden`.
    """
    from less_sync.client.sharing.keys import SpaceKeys
    from less_sync.client.sharing.person import Person, person_from

    def person() -> Person:
        return person_from(job.did_key_file, user=job.tokens.user, issuer=job.tokens.issuer)

    grant = grant_of(shared.ucan)
    if who.did != grant.audience:
        raise UsageProblem(
            "this folder was joined by another person than the one whose token this is",
            "the token's `did` must be the one the space was shared with; where tokens have none, "
            "--did-key-file names its key",
        )
    cipher = SharedCipher(shared.epoch_keys, shared.space)
    keys = SpaceKeys(SharedFile(job.folder), cipher, person)
    return Binding(shared.space, shared.fingerprint, cipher, grant.audience, grant, keys)
