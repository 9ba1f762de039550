"""Signatures of requests between servers: Ed25519, a subset of RFC 9421 (docs/tokens.md 9).

    Signature-Input: sig=("@method" "@target-uri" "host");keyid="...";alg="ed25519";created=1767225600
    Signature: sig=:base64 of 64 bytes:

What is signed is one line for each covered component and a last one with the parameters, exactly as
received: a parameter added on the way changes the text and breaks the signature.
"""

import re
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from less_sync.auth.errors import (
    InvalidKeyId,
    InvalidSignatureHeader,
    InvalidSignatureInput,
    KeyLookupFailed,
    MissingRequiredComponent,
    MissingSignature,
    MissingSignatureInput,
    SignatureExpired,
    UnsupportedAlgorithm,
    VerificationFailed,
)

if TYPE_CHECKING:
    from nacl.signing import SigningKey

SIGNATURE_AGE_S_MAX: Final = 300.0
"""How far `created` may be from now, both ways."""

TARGET_SCHEMES: Final = ("ws", "wss", "https", "http")
"""Schemes a peer may have signed: a received target has none, and peers differ in what they write."""

SIGNED_CHARS_MAX: Final = 16_384
"""What a signature may cover, its parameters included: it is held while its key is looked for."""

_TWINS: Final = {"https": "wss", "wss": "wss", "http": "ws", "ws": "ws"}
_SCHEMES_OF: Final = {"wss": ("wss", "https"), "ws": ("ws", "http")}
_SIGNATURE_BYTES: Final = 64
_REQUIRED: Final = ("@method", "@target-uri", "host")
_VISIBLE: Final = re.compile(r"[\t\x20-\x7e]*")
_PARAMETER: Final = re.compile(r';([a-z*][a-z0-9_.*-]*)=("[^"\\]*"|[^;"\s]*)')
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}")
_COMPONENTS: Final = re.compile(r'(?:"[^"\\]*"(?: "[^"\\]*")*)?')
_COMPONENT: Final = re.compile(r'"([^"\\]*)"')
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# A set that leaves out all of Unicode takes as long to compile as everything else here together.
_HOST: Final = re.compile(r"""(?:\[[0-9A-Fa-f:.]+\]|(?:(?![\s"%/:<>?#@\[\\\]])[\x00-\x7e])+)(?::[0-9]*)?""")
_KEY_ID_BREAKERS: Final = re.compile(r'["\\;=\s]|[^\x21-\x7e]')


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as received; header names in any case, the first line of a name counts."""

    method: str
    target: str
    """As on the request line: a path with its query, or an absolute URI."""
    headers: Mapping[str, str] = field(repr=False)
    """Lower-case name to the first value."""
    schemes: tuple[str, ...] = TARGET_SCHEMES
    """Those that a target without one may have been signed with."""

    @classmethod
    def of(cls, *, method: str, target: str, headers: Iterable[tuple[str, str]]) -> "SignedRequest":
        """A request from its header lines in the order received."""
        first: dict[str, str] = {}
        for name, value in headers:
            first.setdefault(name.lower(), value)
        return cls(method, target, first)

    def forwarded(self) -> "SignedRequest":
        """The same, believing a proxy that says which scheme was asked for: that one and its twin alone.

        The first `X-Forwarded-Proto` counts; without one, or with a scheme not known, all stay possible.
        """
        said = self.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
        return replace(self, schemes=_SCHEMES_OF[_TWINS[said]]) if said in _TWINS else self

    def target_uris(self) -> Iterator[str]:
        """The texts `@target-uri` may stand for."""
        if _ABSOLUTE.match(self.target):
            yield self.target
            return
        for scheme in self.schemes:
            yield f"{scheme}://{self.headers.get('host', '')}{self.target}"


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """A parsed `Signature-Input`."""

    components: tuple[str, ...]
    key_id: str
    algorithm: str
    created: int
    """Unix seconds."""
    parameters: str
    """The text after `sig=`, as received: the value of `@signature-params`."""


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """Who signed a request, and what of it."""

    key_id: str
    components: tuple[str, ...]
    created: int
    base: str = field(repr=False)
    """The text that was signed."""
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignatureHeaders:
    """The two headers a signed request carries."""

    signature_input: str
    signature: str = field(repr=False)


def sign_request(
    key: "SigningKey",
    *,
    key_id: str,
    created: int,
    method: str,
    target_uri: str,
    host: str,
    headers: Mapping[str, str] = {},
    nonce: str = "",
) -> SignatureHeaders:
    """Sign a request as the existing servers do, parameter order included.

    Args:
        created: Unix seconds.
        host: exactly as sent in `Host`.
        headers: lower-case names and values of further headers to cover; the existing servers cover none.
        nonce: makes this signature differ from others of the same second; they send none.

    Raises:
        InvalidKeyId: the key id has a character that would break the header.
    """
    if not key_id or _KEY_ID_BREAKERS.search(key_id):
        raise InvalidKeyId("a character of it cannot stand in a header")
    values = {**dict(zip(_REQUIRED, (method, target_uri, host), strict=True)), **headers}
    covered = " ".join(f'"{name}"' for name in values)
    parameters = f'({covered});keyid="{key_id}";alg="ed25519";created={created}'
    if nonce:
        parameters += f';nonce="{nonce}"'
    base = _signature_base(values, parameters)
    signature = b64encode(key.sign(base.encode("utf-8")).signature).decode("ascii")
    return SignatureHeaders(f"sig={parameters}", f"sig=:{signature}:")


@dataclass(frozen=True, slots=True)
class PresentedSignature:
    """A signature that is well formed, new enough and covers what it must: whether it is good, its key says.

    It holds nothing of the request but what is covered, and not much of that: see `read_signature`.
    """

    request: SignedRequest
    signed: SignatureInput
    signature: bytes = field(repr=False)

    def verified_by(self, key: bytes) -> VerifiedSignature:
        """Check it with the 32 bytes of a public key.

        Raises:
            VerificationFailed: it was not made with that key, or covers what the request has not.
        """
        signed = self.signed
        base = _verified_base(self.request, signed, key, self.signature)
        return VerifiedSignature(signed.key_id, signed.components, signed.created, base, self.signature)


def read_signature(
    request: SignedRequest,
    *,
    now: float,
    age_s_max: float = SIGNATURE_AGE_S_MAX,
    covering: Sequence[str] = (),
    covered_chars_max: int = SIGNED_CHARS_MAX,
) -> PresentedSignature:
    """All checks of docs/tokens.md 9.3 that need no key, in their order.

    Args:
        now: Unix seconds.
        covering: what must be covered beside method, target and host.
        covered_chars_max: of everything that is covered, the parameters included.

    Raises:
        SignatureError: the first thing that is wrong.
    """
    input_header = _visible(request.headers.get("signature-input"))
    if input_header is None:
        raise MissingSignatureInput
    signature_header = _visible(request.headers.get("signature"))
    if signature_header is None:
        raise MissingSignature
    signed = parse_signature_input(input_header)
    if signed.algorithm != "ed25519":
        raise UnsupportedAlgorithm(signed.algorithm)
    if abs(now - signed.created) > age_s_max:
        raise SignatureExpired
    for name in (*_REQUIRED, *covering):
        if name not in signed.components:
            raise MissingRequiredComponent(name)
    signature = _parse_signature(signature_header)
    return PresentedSignature(_covered(request, signed, covered_chars_max), signed, signature)


def verify_request(
    request: SignedRequest,
    *,
    key_of: Callable[[str], bytes | None],
    now: float,
    age_s_max: float = SIGNATURE_AGE_S_MAX,
) -> VerifiedSignature:
    """Check a request's signature, in the order of docs/tokens.md 9.3.

    Args:
        key_of: key id to the 32 bytes of a public key, None if not known.
        now: Unix seconds.

    Raises:
        SignatureError: the first thing that is wrong.
    """
    presented = read_signature(request, now=now, age_s_max=age_s_max)
    key = key_of(presented.signed.key_id)
    if key is None:
        raise KeyLookupFailed
    return presented.verified_by(key)


def parse_signature_input(header: str) -> SignatureInput:
    """Read a `Signature-Input` header with one signature, labelled `sig`.

    Raises:
        InvalidSignatureInput: with the detail of docs/tokens.md 9.3.
    """
    if len(header) > SIGNED_CHARS_MAX:
        raise InvalidSignatureInput("too long")
    parameters = header.removeprefix("sig=")
    if parameters == header:
        raise InvalidSignatureInput("expected sig= prefix")
    if not parameters.startswith("("):
        raise InvalidSignatureInput("expected ( after sig=")
    covered, closed, rest = parameters[1:].partition(")")
    if not closed:
        raise InvalidSignatureInput("unclosed component list")
    values = _parameters(rest)
    key_id, algorithm = _quoted(values, "keyid"), _quoted(values, "alg")
    created = _created(values)
    if not _COMPONENTS.fullmatch(covered):
        raise InvalidSignatureInput("malformed component list")
    return SignatureInput(tuple(_COMPONENT.findall(covered)), key_id, algorithm, created, parameters)


def _visible(header: str | None) -> str | None:
    return header if header is not None and _VISIBLE.fullmatch(header) else None


def _parameters(text: str) -> dict[str, str]:
    """The parameters by name; where the grammar ends, so does the reading.

    What is missing is told before what is malformed, as the existing server does.
    """
    values: dict[str, str] = {}
    end, fault = 0, False
    for match in _PARAMETER.finditer(text):
        if match.start() != end:
            break
        name, value = match.groups()
        well_formed = value.startswith('"') or name == "created" or _INTEGER.fullmatch(value)
        fault = fault or name in values or not well_formed
        values[name] = value
        end = match.end()
    for name in ("keyid", "alg", "created"):
        if name not in values:
            raise InvalidSignatureInput(f"missing {name} parameter")
    if fault or end != len(text):
        raise InvalidSignatureInput("malformed parameters")
    return values


def _quoted(values: dict[str, str], name: str) -> str:
    value = values[name]
    if not value.startswith('"'):
        raise InvalidSignatureInput(f"{name} is not a string")
    return value[1:-1]


def _created(values: dict[str, str]) -> int:
    text = values["created"]
    if not _INTEGER.fullmatch(text):
        raise InvalidSignatureInput("invalid created timestamp: not an integer")
    if text.startswith("-"):
        raise InvalidSignatureInput("invalid created timestamp: negative")
    return int(text)


def _parse_signature(header: str) -> bytes:
    encoded = header.removeprefix("sig=:")
    if encoded == header:
        raise InvalidSignatureHeader("expected sig=: prefix")
    if not encoded.endswith(":"):
        raise InvalidSignatureHeader("expected trailing colon")
    encoded = encoded[:-1]
    try:
        signature = a2b_base64(encoded.encode("ascii"), strict_mode=True)
    except ValueError:
        signature = b""
    # Encoding again refuses unused bits that are set.
    if len(signature) != _SIGNATURE_BYTES or b64encode(signature).decode("ascii") != encoded:
        raise InvalidSignatureHeader("malformed signature bytes")
    return signature


def _covered(request: SignedRequest, signed: SignatureInput, chars_max: int) -> SignedRequest:
    """The request without what the signature is not about."""
    covered = {name: request.headers[name] for name in signed.components if name in request.headers}
    held = len(request.target) + sum(map(len, covered.values())) + len(signed.parameters)
    if held > chars_max:
        raise VerificationFailed
    return replace(request, headers=covered)


def _verified_base(request: SignedRequest, signed: SignatureInput, key: bytes, signature: bytes) -> str:
    """The base that the signature verifies for, of at most one for each scheme."""
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey

    if len(set(signed.components)) != len(signed.components):
        raise VerificationFailed
    try:
        verify_key = VerifyKey(key)
    except ValueError:
        raise VerificationFailed from None
    for target_uri in request.target_uris():
        values = {name: _component(request, name, target_uri) for name in signed.components}
        base = _signature_base(values, signed.parameters)
        try:
            verify_key.verify(base.encode("utf-8", "surrogatepass"), signature)
        except BadSignatureError:
            continue
        return base
    raise VerificationFailed


def _component(request: SignedRequest, name: str, target_uri: str) -> str:
    if name == "@method":
        value: str | None = request.method
    elif name == "@target-uri":
        value = target_uri
    else:
        # Other derived components have no header of their name. An absent header is not an empty one.
        value = request.headers.get(name)
    # A line break would let one value pass for two components.
    if value is None or "\n" in value or "\r" in value:
        raise VerificationFailed
    if name == "host" and not _HOST.fullmatch(value):
        raise VerificationFailed
    return value


def _signature_base(values: Mapping[str, str], parameters: str) -> str:
    lines = [f'"{name}": {value}' for name, value in values.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])
