"""Test vectors of encryption and UCANs, read by Python and by JavaScript (docs/encryption.md 12).

Python's half has fixed keys and IVs and deterministic signatures, so a test can make it again and compare.
JavaScript's half is random where that half is fixed; `node clients/js/tests/crypto_vectors.js` makes it anew.
"""

from pathlib import Path
from typing import Any, Final

from tests.crypto.half import half
from tests.crypto.inputs import derived, inputs
from tests.crypto.refused import refused

PATH: Final = Path(__file__).parent.parent / "vectors" / "crypto.json"


def document(javascript: dict[str, Any]) -> dict[str, Any]:
    """The whole file, around the half that JavaScript made."""
    return {
        "format": 1,
        "inputs": inputs(),
        "derived": derived(),
        "refused": refused(),
        "python": half(),
        "javascript": javascript,
    }
