"""Names of the files of a volume: `7.dat`, or `pics_2_7.dat` in the collection `pics_2`."""

from less_sync.volume.format.fid import parse_volume_id


def base_name(collection: str, volume_id: int) -> str:
    """What stands before the extension."""
    return f"{collection}_{volume_id}" if collection else str(volume_id)


def parse_base_name(name: str) -> tuple[str, int]:
    """Collection and id; the last `_` separates them, because collections may contain it.

    Raises:
        FormatError: what should be the id is no number.
    """
    bar = name.rfind("_")
    return (name[:bar], parse_volume_id(name[bar + 1 :])) if bar > 0 else ("", parse_volume_id(name))
