"""Volumes by their number, as the calls look them up, and which collections files may be named after."""

from less_sync.volume.engine.volume import Volume
from less_sync.volume.format.quoting import quoted
from less_sync.volume.grpc.errors import CallError
from less_sync.volume.services import Services


def volume_of(services: Services, volume_id: int, text: str = "not found volume id {}") -> Volume:
    """The mounted volume, whose files are open.

    Raises:
        CallError: there is none; `text` with the number in it.
    """
    volume = services.store.volume(volume_id)
    if volume is None or volume.is_closed:
        raise CallError(text.format(volume_id))
    return volume


def refuse_escaping_collection(collection: str) -> None:
    """Let nobody name a file outside the directories by the collection that it begins with.

    Raises:
        CallError: the collection would do that.
    """
    if collection in {".", ".."} or not {"/", "\\", "\0"}.isdisjoint(collection):
        raise CallError(f"invalid collection {quoted(collection)}")
