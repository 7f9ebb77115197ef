"""TLS between the commands and the API."""

from __future__ import annotations

import ssl
from pathlib import Path

from recsys.errors import RuntimeFailure


def pinned(certificate: Path | None) -> ssl.SSLContext | bool:
    """Return a value for httpx's `verify` that trusts only this certificate. None: the usual verification.

    The certificate's name is not checked, since the commands connect to 127.0.0.1. Raises RuntimeFailure when it cannot
    be read.
    """
    if certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except OSError as error:
        raise RuntimeFailure(f"http_options.ssl_certfile: {certificate} cannot be used: {error}") from None
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the certificate itself, whoever signed it
    return context


def joined(certificate: Path, key: Path) -> str:
    """Return both in one text for HAProxy. Raises RuntimeFailure when one cannot be read or they do not match."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        return f"{certificate.read_text()}\n{key.read_text()}"
    except (OSError, ValueError) as error:
        raise RuntimeFailure(
            f"http_options.ssl_certfile and ssl_keyfile: {certificate} and {key} cannot be used: {error}"
        ) from None
