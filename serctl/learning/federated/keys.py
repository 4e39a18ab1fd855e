"""Keys of parties and the certificate of a server: who may take part, and whom the parties trust.

A party signs every request with its private key, FOLDER/NAME.key; the server knows NAME.pub of each party that may take
part. The certificate is its own authority: parties are given the file itself.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from serctl.errors import ConfigError
from serctl.files import check_new_file, make_folder

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = "127.0.0.1"
_VALID = timedelta(days=825)
_FOR_LOCAL_USE = ("localhost", LOOPBACK)


def make_key(path: Path, *, overwrite: bool = False) -> Path:
    """Write the private key of a party, and its public key beside it.

    Args:
        path: of the private key, NAME.key; NAME is the name of the party.
        overwrite: replace a key that is there.

    Returns:
        The path of the public key, NAME.pub.

    Raises:
        ConfigError: the name does not end with .key, or a key is there.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if path.suffix != ".key":
        raise ConfigError(f"expected a file named NAME.key. Received: {path}")
    public = path.with_suffix(".pub")
    for each in (path, public):
        check_new_file(each, overwrite=overwrite)
    key = ec.generate_private_key(ec.SECP384R1())
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, plain)
    _write_secret(path, private)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def make_certificate(folder: Path, host: str, *, overwrite: bool = False) -> Path:
    """Write a certificate, server.pem, and its key, server.key.

    Args:
        folder: is made where it does not exist.
        host: name or address by which the parties reach the server; it also holds on its own machine.
        overwrite: replace one that is there.

    Returns:
        The path of the certificate, which the parties need.

    Raises:
        ConfigError: one is there.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    make_folder(folder)
    path, secret = folder / "server.pem", folder / "server.key"
    for each in (path, secret):
        check_new_file(each, overwrite=overwrite)
    key = ec.generate_private_key(ec.SECP384R1())
    plain = serialization.NoEncryption()
    _write_secret(secret, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    path.write_bytes(_signed(key, host).public_bytes(serialization.Encoding.PEM))
    return path


def _signed(key: Any, host: str) -> Any:
    """A certificate for a host, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])])
    now = datetime.now(UTC)
    usage = {name: False for name in ("content_commitment", "data_encipherment", "encipher_only", "decipher_only")}
    usage |= {name: True for name in ("digital_signature", "key_encipherment", "key_agreement")}
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName(list(map(_general_name, {host, *_FOR_LOCAL_USE}))), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _general_name(host: str) -> Any:
    from cryptography import x509

    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def read_public_keys(folder: Path) -> dict[str, bytes]:
    """Read the public keys of the parties that may take part.

    Args:
        folder: with a file NAME.pub for each party.

    Returns:
        The keys in PEM by the name of the party, in their order.

    Raises:
        ConfigError: there is none, or one is not a key as make_key writes it.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.pub"))}
    if not found:
        raise ConfigError(f"{folder}: expected the public key of each party, NAME.pub. Found: none")
    for name, content in found.items():
        key: Any = None
        with suppress(ValueError):
            key = load_pem_public_key(content)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ConfigError(f"{folder / name}.pub: expected the public key of a party")
    return found


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its user can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
