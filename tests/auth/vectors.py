"""The vectors of tokens and signatures that other implementations share, and the keys they were made with."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

VECTORS = Path(__file__).parents[1] / "vectors"


@cache
def auth_vectors() -> dict[str, Any]:
    """`auth.json`, decoded."""
    document: dict[str, Any] = json.loads((VECTORS / "auth.json").read_text())
    return document


def p256_key(name: str) -> ec.EllipticCurvePrivateKey:
    """The private key `keys.p256.<name>`."""
    scalar = auth_vectors()["keys"]["p256"][name]["private_scalar_hex"]
    return ec.derive_private_key(int(scalar, 16), ec.SECP256R1())


def did_of(name: str) -> str:
    """The DID of `keys.p256.<name>`."""
    did: str = auth_vectors()["keys"]["p256"][name]["did"]
    return did


def names(cases: list[dict[str, Any]]) -> list[str]:
    """Test ids of a list of cases."""
    return [str(case["name"]) for case in cases]
