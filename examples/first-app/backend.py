"""What an app's own backend does: it serves the app, knows its users, and gets them tokens to sync with.

    python backend.py 127.0.0.1:8080 http://127.0.0.1:5379

Standard library alone. Its tokens come from a sync server in dev mode, and are minted where that was started;
with an identity provider of yours, `token_for` is the part that changes.
"""

import base64
import hmac
import json
import re
import secrets
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PASSWORDS = {"alice": "rabbit", "bob": "hatter"}  # yours are hashed, in a database
BODY_BYTES_MAX = 4096
SESSIONS_MAX = 1000
ADDRESS, SERVER = sys.argv[1:3]
APP = Path(__file__).parent / "app"
names: dict[str, str] = {}  # who is behind a session
people: dict[str, dict[str, str]] = {}  # how others reach who was here: DID and mailbox


class Refused(Exception):
    """What is asked cannot be done: status and reason."""


def token_for(name: str, did: str) -> str:
    """A token that says who this is, and which device: the DID is the public key that the device made."""
    if not re.fullmatch(r"did:key:z[1-9A-HJ-NP-Za-km-z]{1,100}", did):
        raise Refused(400, "that is no DID")
    command = [str(Path(sys.executable).with_name("less-sync")), "token", f"--user={name}", f"--did={did}"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def sign_in(question: dict[str, str]) -> dict[str, str]:
    """A session for who knows the password, and where the sync server is."""
    name, password = question["name"], PASSWORDS.get(question["name"])
    if password is None or not hmac.compare_digest(password.encode(), question["password"].encode()):
        raise Refused(401, "that is not the password")
    if len(names) >= SESSIONS_MAX:
        names.pop(next(iter(names)))  # the oldest
    session = secrets.token_urlsafe(32)
    names[session] = name
    return {"session": session, "server": SERVER}


def token(name: str, question: dict[str, str]) -> dict[str, str]:
    """A fresh token for who is signed in; from now on others can invite this device."""
    made = token_for(name, question["did"])
    payload = made.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    people[name] = {"did": claims["did"], "mailbox": claims["mailbox_id"]}
    return {"token": made}


def person(_name: str, question: dict[str, str]) -> dict[str, str]:
    """How to reach another user."""
    if question["name"] not in people:
        raise Refused(404, "nobody has signed in under that name yet")
    return people[question["name"]]


class Backend(SimpleHTTPRequestHandler):
    """GET gives the files of the app, POST asks."""

    timeout = 10  # seconds for a request to come

    def do_POST(self) -> None:
        """Answer a question of the app."""
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 < length <= BODY_BYTES_MAX:
                raise Refused(413, f"a question has {BODY_BYTES_MAX} bytes at most")
            self.answer(200, self.asked(json.loads(self.rfile.read(length))))
        except Refused as refused:
            self.answer(refused.args[0], {"error": refused.args[1]})
        except subprocess.SubprocessError:
            self.answer(502, {"error": "there is no token to be had"})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.answer(400, {"error": "the question is not understood"})

    def asked(self, question: dict[str, str]) -> dict[str, str]:
        """What is asked by this path."""
        if self.path == "/sign-in":
            return sign_in(question)
        name = names.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if name is None:
            raise Refused(401, "sign in first")
        questions = {"/token": token, "/person": person}
        if self.path not in questions:
            raise Refused(404, "there is no such question")
        return questions[self.path](name, question)

    def answer(self, status: int, told: dict[str, str]) -> None:
        """Send JSON."""
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: sessions and names are nobody's business."""


host, _, port = ADDRESS.rpartition(":")
with ThreadingHTTPServer((host, int(port)), partial(Backend, directory=str(APP))) as server:
    print(f"the app is at http://{ADDRESS}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
