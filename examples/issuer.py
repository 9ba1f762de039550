"""An issuer of tokens for a sync server, as small as it can be: what an app's own backend has to do.

python issuer.py rules          what the server is told of this issuer, for its ISSUERS_FILE
python issuer.py serve          serve the discovery document and the keys, for the server
python issuer.py token alice    print a token for alice, who has signed in by whatever means are yours

ISSUER_URL is the name it issues under, and where it listens; ISSUER_KEY_FILE holds its private key.
"""

import json
import os
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

URL = os.environ.get("ISSUER_URL", "http://127.0.0.1:8080")
KEY_FILE = Path(os.environ.get("ISSUER_KEY_FILE", "issuer.pem"))
RULES = f"""[issuers.mine]
issuer = "{URL}"
keys = "discovery"
audiences = ["less-sync"]
identity = "derived"
"""


def private_key() -> ECKey:
    """The key in KEY_FILE, made at the first start, for its owner alone; of two starts one makes it."""
    if not KEY_FILE.exists():
        with NamedTemporaryFile(dir=KEY_FILE.parent) as draft, suppress(FileExistsError):
            draft.write(ECKey.generate_key("P-256").as_pem(private=True))
            draft.flush()
            os.link(draft.name, KEY_FILE)
    key = ECKey.import_key(KEY_FILE.read_bytes(), {"use": "sig", "alg": "ES256"})
    key.ensure_kid()  # from the key itself: another one has another `kid`
    return key


def token(key: ECKey, user: str) -> str:
    """A token for a user. `sub` must mean the same person for ever: their space is derived from it."""
    now = int(time.time())
    claims = {"iss": URL, "sub": user, "client_id": "my-app", "aud": "less-sync", "scope": "sync files"}
    return jwt.encode({"alg": "ES256", "kid": key.kid}, claims | {"iat": now, "exp": now + 15 * 60}, key)


def serve(key: ECKey) -> None:
    """Serve the two public documents until Ctrl-C."""
    documents = {
        "/.well-known/openid-configuration": {"issuer": URL, "jwks_uri": f"{URL}/.well-known/jwks.json"},
        "/.well-known/jwks.json": {"keys": [key.as_dict(private=False)]},
    }

    class Documents(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            self.send_response(200 if self.path in documents else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(documents.get(self.path)).encode())

    host, port = urlsplit(URL).hostname or "", urlsplit(URL).port or 80
    with suppress(KeyboardInterrupt), ThreadingHTTPServer((host, port), Documents) as server:
        print(f"issuing as {URL}", flush=True)
        server.serve_forever()


match sys.argv[1:]:
    case ["rules"]:
        print(RULES, end="")
    case ["serve"]:
        serve(private_key())
    case ["token", user] if user:
        print(token(private_key(), user))
    case _:
        sys.exit(__doc__)
