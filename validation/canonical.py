"""JSON in one spelling, so that equal documents are equal bytes. Pure."""

import json


def compact(document: object) -> bytes:
    """Without blanks, keys sorted by code point, in UTF-8: what digests are made of."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
