"""TLS on a channel that leaves its machine.

Each server makes a certificate of its own when it starts, and nobody signs it: the proof of `handshake.py` covers the
certificate that the client was shown, so a program between the two, which has another one, fails the proof. No file has
to be handed out or renewed. Between processes of one machine a channel is plain TCP.
"""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

_NAME = "recsys channel"
_LIFETIME = timedelta(days=3650)
"""Of a certificate, whose dates nobody checks."""


@dataclass(frozen=True)
class ServerTls:
    """A server's end of TLS."""

    context: ssl.SSLContext
    fingerprint: bytes
    """SHA-256 of the certificate in DER, 32 bytes."""


def leaves_the_machine(host: str) -> bool:
    """Whether a channel of this IP address may cross a network."""
    return not ip_address(host).is_loopback


def server_tls() -> ServerTls:
    """Make a key and a certificate, which exist in this process alone."""
    # Imported here: a platform on one machine does without.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _LIFETIME)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with tempfile.TemporaryDirectory(prefix="recsys-") as folder:  # mode 0700; ssl reads keys from files only
        file = Path(folder) / "pem"
        file.write_bytes(pem)
        context.load_cert_chain(file)
    return ServerTls(context, hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest())


def client_context() -> ssl.SSLContext:
    """Return a context that takes any certificate: the proof says whether it is the server's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fingerprint_shown(transport: Any) -> bytes:
    """Return the fingerprint of the certificate that a connection's other end showed; empty for plain TCP."""
    tls = transport.get_extra_info("ssl_object")
    return b"" if tls is None else hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
