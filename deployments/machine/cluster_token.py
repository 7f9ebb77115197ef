"""Ray's token of a cluster: a secret that every machine has, and that each call between Ray's processes shows."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from recsys.errors import RuntimeFailure
from recsys.files import replace


def cluster_token(home: Path, file: Path | None, *, make: bool) -> str:
    """Return the token in `file`, or in `run/token` of `home` where none is named.

    `make`: the head makes the latter when it is not there. Raises RuntimeFailure when the token cannot be read, is
    empty, or others may read its file.
    """
    path = file or home / "run" / "token"
    if file is None and make and not path.exists():
        replace(path, os.urandom(32).hex().encode(), mode=0o600)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeFailure(
            f"Ray's token: {path} cannot be read ({error}): copy it from the head, which made it, or name it with "
            "--token-file"
        ) from None
    if mode & 0o007:
        raise RuntimeFailure(f"Ray's token: {path} is open to others (mode {mode:03o}): chmod 600 {path}")
    if not token:
        raise RuntimeFailure(f"Ray's token: {path} is empty: write 32 random bytes in hexadecimal into it")
    return token
