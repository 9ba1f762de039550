"""Names of contents, back from paths."""

from uuid import UUID

from less_sync.storage.blobs import BlobKey


def canonical_uuid(text: str) -> UUID | None:
    """The UUID that is spelled like this: lower-case, hyphenated. None for any other text."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text else None


def parse_path(path: str) -> BlobKey | None:
    """The key whose `path` this is; None when there is none such."""
    parts = path.split("/")
    if len(parts) != 4 or parts[0] != "spaces" or parts[2] != "files":
        return None
    space, file = canonical_uuid(parts[1]), canonical_uuid(parts[3])
    return None if space is None or file is None else BlobKey(space, file)
