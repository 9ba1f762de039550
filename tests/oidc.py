"""The OpenID provider of `examples/oidc` as a process, and people who sign in at it by its forms."""

import asyncio
import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests.node import NODE, environment

EXAMPLE: Final = Path(__file__).resolve().parent.parent / "examples" / "oidc"
CLIENT_ID: Final = "todo-app"
SCOPE: Final = "openid offline_access sync files"
START_S_MAX: Final = 30.0
STEPS_MAX: Final = 10
_FORM: Final = re.compile(r'<form[^>]*action="([^"]+)"')
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a person got."""

    access: str
    identity: str
    refresh: str


class Provider:
    """Runs while the block does.

    Args:
        port: where it listens.
        app: the origin of the app that may ask.
    """

    def __init__(self, port: int, app: str) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._app = app
        self._arguments = (str(EXAMPLE / "provider.mjs"), str(port), app)

    async def __aenter__(self) -> "Provider":
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            *self._arguments,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S_MAX):
            line = await self._process.stdout.readline()
        assert line == f"provider at {self.issuer}\n".encode()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()

    def issuers_file(self, directory: Path) -> Path:
        """The example's own table, with the port of this provider."""
        path = directory / "issuers.toml"
        path.write_text((EXAMPLE / "issuers.toml").read_text().replace("http://127.0.0.1:5400", self.issuer))
        return path

    async def sign_in(self, name: str) -> Tokens:
        """Sign in as a browser does it: through the two forms, with PKCE (RFC 7636)."""
        verifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": f"{self._app}/",
            "scope": SCOPE,
            "prompt": "consent",
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        async with httpx.AsyncClient(timeout=START_S_MAX) as browser:
            answer = await browser.get(f"{self.issuer}/auth", params=asked)
            code = await self._code(browser, answer, name)
            fields = {
                "grant_type": "authorization_code",
                "client_id": CLIENT_ID,
                "code": code,
                "redirect_uri": f"{self._app}/",
                "code_verifier": verifier,
            }
            told = (await browser.post(f"{self.issuer}/token", data=fields)).raise_for_status().json()
        return Tokens(told["access_token"], told["id_token"], told["refresh_token"])

    async def _code(self, browser: httpx.AsyncClient, answer: httpx.Response, name: str) -> str:
        for _ in range(STEPS_MAX):
            if answer.is_redirect:
                place = urljoin(str(answer.url), answer.headers["location"])
                if place.startswith(self._app):
                    return parse_qs(urlsplit(place).query)["code"][0]
                answer = await browser.get(place)
                continue
            form = _FORM.search(answer.text)
            assert form is not None, answer.text
            fields = dict(_HIDDEN.findall(answer.text)) | {"login": name, "password": "any"}
            answer = await browser.post(urljoin(str(answer.url), unescape(form[1])), data=fields)
        raise AssertionError("the provider asks for ever")
