"""TLS of the admin HTTP listener, of outgoing HTTP and of outgoing gRPC (docs/volume.md 6.3).

A file that is named and cannot be read ends the start: whoever asks for TLS never gets plain text instead.
"""

import ssl
from pathlib import Path
from typing import Final

import grpc

from less_sync.volume.security.settings import SecuritySettings

_VERSIONS: Final = {
    "TLS 1.0": ssl.TLSVersion.TLSv1,
    "TLS 1.1": ssl.TLSVersion.TLSv1_1,
    "TLS 1.2": ssl.TLSVersion.TLSv1_2,
    "TLS 1.3": ssl.TLSVersion.TLSv1_3,
}


class TlsError(Exception):
    """The TLS settings cannot be used; the text says which, and why."""


def http_server_context(settings: SecuritySettings) -> ssl.SSLContext | None:
    """What the admin listener speaks; None where neither certificate nor key is set: plain HTTP.

    Raises:
        TlsError: a file or a value cannot be used.
    """
    certificate, key = settings.path("https.volume.cert"), settings.path("https.volume.key")
    if certificate is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_bounds(context, settings)
    _load_own(context, certificate, key, "https.volume")
    if (authority := settings.path("https.volume.ca")) is not None:
        _load_authority(context, authority, "https.volume.ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def outgoing_http_context(settings: SecuritySettings) -> ssl.SSLContext | None:
    """What other servers are spoken to with; None unless `https.client.enabled`: plain HTTP.

    Raises:
        TlsError: a file or a value cannot be used.
    """
    if not settings.boolean("https.client.enabled"):
        return None
    context = ssl.create_default_context()
    _set_bounds(context, settings)
    if (authority := settings.path("https.client.ca")) is not None:
        _load_authority(context, authority, "https.client.ca")
    certificate, key = settings.path("https.client.cert"), settings.path("https.client.key")
    if certificate is not None and key is not None:
        _load_own(context, certificate, key, "https.client")
    if settings.boolean("https.client.insecure_skip_verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def grpc_channel_credentials(settings: SecuritySettings) -> grpc.ChannelCredentials | None:
    """What gRPC speaks to masters and peers; None where not all of certificate, key and authority are set.

    Raises:
        TlsError: a file cannot be used.
    """
    certificate, key = settings.path("grpc.volume.client_cert"), settings.path("grpc.volume.client_key")
    if certificate is None or key is None:
        certificate, key = settings.path("grpc.volume.cert"), settings.path("grpc.volume.key")
    authority = settings.path("grpc.ca")
    if certificate is None or key is None or authority is None:
        return None
    authority_pem, certificate_pem, key_pem = grpc_files(authority, certificate, key)
    return grpc.ssl_channel_credentials(authority_pem, key_pem, certificate_pem)


def grpc_files(authority: Path | None, certificate: Path, key: Path) -> tuple[bytes | None, bytes, bytes]:
    """What the files hold. grpcio would fail every handshake over what is none of it, and not say why.

    Raises:
        TlsError: a file cannot be read, is no certificate or no key, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_own(context, certificate, key, "grpc.volume")
    if authority is not None:
        _load_authority(context, authority, "grpc.ca")
    try:
        return authority.read_bytes() if authority else None, certificate.read_bytes(), key.read_bytes()
    except OSError as error:
        raise TlsError(f"{error.filename}: {_reason(error)}") from error


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path, what: str) -> None:
    try:
        # Without a password at hand a key that is locked would be asked for at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{what}.cert or .key: {certificate}, {key}: {_reason(error)}") from error


def _load_authority(context: ssl.SSLContext, authority: Path, what: str) -> None:
    try:
        context.load_verify_locations(authority)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{what}: {authority}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or type(error).__name__)


def _set_bounds(context: ssl.SSLContext, settings: SecuritySettings) -> None:
    """Versions such as `TLS 1.2`, and suites by their names in the standards, by commas."""
    for key, bound in (("tls.min_version", "minimum_version"), ("tls.max_version", "maximum_version")):
        if text := settings.text(key):
            version = _VERSIONS.get(text.upper().replace("TLSV", "TLS ").strip())
            if version is None:
                raise TlsError(f"{key}: no version of TLS: {text}")
            setattr(context, bound, version)
    if suites := settings.text("tls.cipher_suites"):
        try:
            context.set_ciphers(":".join(_openssl_name(one.strip()) for one in suites.split(",")))
        except ssl.SSLError as error:
            raise TlsError("tls.cipher_suites: none of them is known") from error


def _openssl_name(suite: str) -> str:
    """`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` (RFC 5289) at OpenSSL: `ECDHE-RSA-AES128-GCM-SHA256`."""
    exchange, _, cipher = suite.removeprefix("TLS_").partition("_WITH_")
    if cipher.startswith("CHACHA20"):
        cipher = "CHACHA20_POLY1305"
    cipher = cipher.replace("AES_", "AES").replace("_CBC", "")
    return (cipher if exchange == "RSA" else f"{exchange}_{cipher}").replace("_", "-")
