"""Whether a pull walks the indexes by cursor, or reads and sorts a whole space (docs/storage.md 7.5)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_NEVER: Final = frozenset({"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan", "Hash Join"})
_BY_INDEX: Final = frozenset({"Index Scan", "Index Only Scan"})


def faults_of(root: Mapping[str, Any], tables: frozenset[str]) -> list[str]:
    """What is wrong with a plan; empty if nothing is.

    Args:
        tables: those that are to be read by cursor. What an index is called does not matter.
    """
    faults: dict[str, None] = {}
    for node in _nodes(root):
        kind, table = str(node["Node Type"]), node.get("Relation Name")
        if kind in _NEVER:
            faults[f"{kind} of {table}" if table else kind] = None
        elif table in tables and not (kind in _BY_INDEX and "cursor" in str(node.get("Index Cond", ""))):
            faults[f"{table} not read by cursor"] = None
    return list(faults)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)
