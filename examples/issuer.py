"""An issuer of tokens for a sync server, as small as it can be: what an app's own backend has to do.

python issuer.py rules          what the server is told of this issuer, for its ISSUERS_FILE
python issuer.py serve          serve the discovery document and the keys, for the server
python issuer.py token alice    print a token for alice, who has signed in by whatever means are yours

ISSUER_URL is the name it issues under, and where it listens; ISSUER_KEY_FILE holds its private key.
"""

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

URL = os.environ.get("ISSUER_URL", "http://127.0.0.1:8080")
KEY_FILE = Path(os.environ.get("ISSUER_KEY_FILE", "issuer.pem"))
CLIENT, AUDIENCE, LIFE_S = "my-app", "less-sync", 15 * 60
RULES = f"""[issuers.mine]
issuer = "{URL}"
keys = "discovery"
audiences = ["{AUDIENCE}"]
identity = "derived"
"""


def private_key() -> ec.EllipticCurvePrivateKey:
    """The key in KEY_FILE, made at the first start. Linking is atomic: of two starts at once one makes it."""
    if not KEY_FILE.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        text = made.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
        draft = KEY_FILE.with_name(f"{KEY_FILE.name}.{os.getpid()}")
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        with suppress(FileExistsError):
            os.link(draft, KEY_FILE)
        draft.unlink()
    key = pem.load_pem_private_key(KEY_FILE.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """What servers check tokens with (RFC 7517). Another key has another `kid`."""
    jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    kid = hashlib.sha256(f"{jwk['x']}.{jwk['y']}".encode()).hexdigest()[:8]
    return {**jwk, "kid": kid, "use": "sig", "alg": "ES256"}


def token(key: ec.EllipticCurvePrivateKey, user: str) -> str:
    """A token for a user. `sub` must mean the same person for ever: their space is derived from it."""
    now = int(time.time())
    claims = {"iss": URL, "sub": user, "client_id": CLIENT, "aud": AUDIENCE, "scope": "sync files"}
    times = {"iat": now, "exp": now + LIFE_S}
    return jwt.encode(claims | times, key, algorithm="ES256", headers={"kid": public_jwk(key)["kid"]})


def serve(key: ec.EllipticCurvePrivateKey) -> None:
    """Serve the two public documents until Ctrl-C."""
    keys_url = f"{URL}/.well-known/jwks.json"
    documents = {
        "/.well-known/openid-configuration": {"issuer": URL, "jwks_uri": keys_url},
        "/.well-known/jwks.json": {"keys": [public_jwk(key)]},
    }

    class Documents(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            document = documents.get(self.path)
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing of requests."""

    where = urlsplit(URL)
    with ThreadingHTTPServer((where.hostname or "", where.port or 80), Documents) as server:
        print(f"issuing as {URL}", flush=True)
        server.serve_forever()


def main(words: list[str]) -> None:
    """Do what the command line says."""
    match words:
        case ["rules"]:
            print(RULES, end="")
        case ["serve"]:
            with suppress(KeyboardInterrupt):
                serve(private_key())
        case ["token", user] if user:
            print(token(private_key(), user))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
