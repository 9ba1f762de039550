"""Making UCANs: what clients and the command line do; a server never signs one (docs/tokens.md 7.1)."""

import json
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.auth.did_key import encode_did_key
from less_sync.auth.encoding import b64url_encode
from less_sync.auth.es256 import sign_es256
from less_sync.auth.permission import Permission
from less_sync.auth.ucan import parse_ucan

_HEADER: Final = b64url_encode(b'{"alg":"ES256","typ":"JWT"}')


def delegate(
    key: EllipticCurvePrivateKey,
    *,
    audience: str,
    permission: Permission,
    space_id: UUID,
    expires_at: int,
    nonce: bytes,
    proof: str | None = None,
) -> str:
    """Sign a UCAN by which the owner of `key` lets `audience` use a space.

    Without a proof it is a root token: good only where `key` is the space's root key. A token never outlives
    its proof: `expires_at` is lowered to the proof's.

    Args:
        audience: the DID of who receives it.
        expires_at: Unix seconds.
        nonce: 16 random bytes.
        proof: the UCAN by which the owner of `key` was let in.

    Raises:
        InvalidUcan: the proof cannot be read.
    """
    if proof is not None:
        limit = parse_ucan(proof).expires_at
        expires_at = expires_at if limit is None else min(expires_at, limit)
    claims = {
        "aud": [audience],
        "cmd": permission.command,
        "exp": expires_at,
        "iss": encode_did_key(key.public_key()),
        "nonce": b64url_encode(nonce),
        "prf": [] if proof is None else [proof],
        "with": f"space:{space_id}",
    }
    payload = b64url_encode(json.dumps(claims, separators=(",", ":")).encode())
    signing_input = f"{_HEADER}.{payload}"
    return f"{signing_input}.{sign_es256(key, signing_input)}"
