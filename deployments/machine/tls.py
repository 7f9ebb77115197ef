"""TLS between our own commands and our own API."""

from __future__ import annotations

import ssl
from pathlib import Path

from recsys.errors import RuntimeFailure


def pinned(certificate: Path | None) -> ssl.SSLContext | bool:
    """What httpx's `verify` takes: just this certificate is trusted, whatever name it was made for, since our commands
    ask for the API at 127.0.0.1. True, the usual check, where there is none.
    """
    if certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=str(certificate))
    except OSError as error:
        raise RuntimeFailure(f"http_options.ssl_certfile: {certificate} cannot be used: {error}") from None
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself, not who signed it
    return context


def joined(certificate: Path, key: Path) -> str:
    """Both in one text, as HAProxy reads them. RuntimeFailure when one cannot be read or they do not fit."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        return f"{certificate.read_text()}\n{key.read_text()}"
    except (OSError, ValueError) as error:
        raise RuntimeFailure(
            f"http_options.ssl_certfile and ssl_keyfile: {certificate} and {key} cannot be used: {error}"
        ) from None
