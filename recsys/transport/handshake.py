"""How both ends of a channel prove that they know the secret, before anything else is read.

The client sends a nonce. The server sends its own nonce and its proof; the client checks that proof and sends its own.
A proof is the HMAC-SHA256 of the role, both nonces, the server's address, and with TLS its certificate's fingerprint.
So a proof cannot be used again, returned to its maker, or relayed by a program that listens at another address or that
ends the TLS of one side to begin its own to the other.
"""

from __future__ import annotations

import hmac

NONCE = 32
"""Bytes."""
PROOF = 32
"""Bytes."""


class Unproven(ConnectionError):
    """The server at the address does not know the secret, or is not the one that has this address."""


def address_of(name: tuple[str, int]) -> str:
    """`host:port` of a socket's own name."""
    return f"{name[0]}:{name[1]}"


def proof(
    secret: bytes, role: bytes, client_nonce: bytes, server_nonce: bytes, address: str, fingerprint: bytes = b""
) -> bytes:
    """32 bytes. `role`: b"client" or b"server". `address`: the server's. `fingerprint`: the SHA-256 of the server's
    certificate; empty for plain TCP.
    """
    return hmac.digest(secret, role + client_nonce + server_nonce + address.encode() + fingerprint, "sha256")
