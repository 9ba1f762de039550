"""TLS in front of a server, with a certificate of an authority of one's own: to try it out, not to run it.

    python private_tls.py certificates DIR ADDRESS...   DIR/authority.pem, and DIR/ADDRESS.pem for each
    python private_tls.py proxy PEM LISTEN SERVER       ends TLS at LISTEN, for SERVER; both are IP:PORT

The proxy says in `X-Forwarded-Proto`, in place of whatever stood there, that it was asked by TLS. It does so
for the first request of a connection, the only one of a WebSocket. In life this is the work of Caddy.
"""

import asyncio
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LIFE = timedelta(days=30)
HEAD_BYTES_MAX = 16 * 1024
HEAD_S_MAX = 10
PIECE_BYTES = 64 * 1024
TOLD_MAX = 1000

told: set[str] = set()


def write_certificates(folder: Path, addresses: list[str]) -> None:
    """An authority, and a certificate with its key for each address. The key of the authority is not kept."""
    folder.mkdir(parents=True, exist_ok=True)
    authority_key = generate_private_key(SECP256R1())
    authority = certificate("our own authority", authority_key, "our own authority", authority_key, None)
    (folder / "authority.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for address in addresses:
        key = generate_private_key(SECP256R1())
        issued = certificate(address, key, "our own authority", authority_key, address)
        path = folder / f"{address}.pem"
        path.touch(mode=0o600)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(issued.public_bytes(Encoding.PEM) + private)


def certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: EllipticCurvePrivateKey,
    address: str | None,
) -> x509.Certificate:
    """Of a server at an address, or without one of an authority (RFC 5280 4.2)."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if address is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, SHA256())


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


async def serve(pem: Path, listen: str, server: str) -> None:
    """End TLS until Ctrl-C."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            await hand_on(reader, writer, server)
        writer.close()

    address, port = listen.rsplit(":", 1)
    async with await asyncio.start_server(accept, address, int(port), ssl=tls, limit=HEAD_BYTES_MAX) as proxy:
        print(f"https://{address}:{proxy.sockets[0].getsockname()[1]} leads to http://{server}", flush=True)
        await proxy.serve_forever()


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: str) -> None:
    """The first request, and what follows in both directions until one side ends it."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S_MAX)
    request, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    tell(request)
    lines = [line for line in lines if not line.lower().startswith("x-forwarded-proto:")]
    address, port = server.rsplit(":", 1)
    server_reader, server_writer = await asyncio.open_connection(address, int(port))
    server_writer.write("\r\n".join([request, *lines, "X-Forwarded-Proto: https", "", ""]).encode("latin-1"))
    ways = [
        asyncio.ensure_future(copy(reader, server_writer)),
        asyncio.ensure_future(copy(server_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        server_writer.close()
        await asyncio.gather(*ways, return_exceptions=True)


def tell(request: str) -> None:
    """Print what was asked for, once for each that asks for the same again and again."""
    if request not in told:
        if len(told) == TOLD_MAX:
            told.clear()
        told.add(request)
        print(request, flush=True)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Piece by piece: who does not read holds back who writes."""
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


def main(words: list[str]) -> None:
    match words:
        case ["certificates", folder, *addresses] if addresses:
            write_certificates(Path(folder), addresses)
        case ["proxy", pem, listen, server]:
            with suppress(KeyboardInterrupt):
                asyncio.run(serve(Path(pem), listen, server))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
