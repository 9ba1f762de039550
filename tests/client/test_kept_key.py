"""Private keys in files: what is written, and what is read."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from less_sync.client.kept_key import PEM_MARK, kept_key


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def test_a_key_is_kept_with_a_mark_above_it_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "sub" / "key.pem"
    made = kept_key(file)
    content = file.read_bytes()
    assert content.startswith(PEM_MARK + b"-----BEGIN PRIVATE KEY-----\n")
    assert (file.stat().st_mode & 0o777, content.count(b"\n")) == (0o600, 6)
    assert _public(kept_key(file)) == _public(made)


def test_a_key_without_the_mark_is_read_too(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    before = file.read_bytes()
    assert _public(kept_key(file)) == _public(key)
    assert file.read_bytes() == before
