"""API keys: the callers, their scopes and their rate limits.

A key is 32 random bytes as text, made by `new_key`. Only its SHA-256 is stored. A slow hash (bcrypt, argon2) protects
passwords that can be guessed. 256 random bits cannot be guessed, and a slow hash would slow down every request.

    keys:
      - name: shop                # in logs and errors, which never show the key
        sha256: 9f2c…             # 64 hex digits, printed by `recsys keys new`
        scopes: [read, write]
        rate: 200                 # requests/s; default: no limit
        burst: 400                # requests at once; default: as `rate`
        expires: 2027-01-31T00:00:00Z   # default: never
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AwareDatetime, Field, ValidationError

from recsys.config.base import Settings
from recsys.data.yaml_text import parse_yaml
from recsys.errors import BadInput

Scope = Literal["read", "write", "admin"]

PREFIX = "recsys_"
"""Prefix of keys, by which secret scanners recognise them."""
LARGEST_FILE = 1 << 20
"""Most bytes of a key file: some thousand keys."""


class ApiKey(Settings):
    """An entry of the key file. Scopes do not imply each other."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    scopes: frozenset[Scope] = Field(min_length=1)
    rate: float | None = Field(None, gt=0, le=1_000_000)
    """Mean requests/s on all composers together. None: no limit."""
    burst: float | None = Field(None, ge=1, le=1_000_000)
    """Requests that may come at once. None: `rate`, at least one."""
    expires: AwareDatetime | None = None
    """Time from which the key is invalid. None: never."""


class _File(Settings):
    keys: tuple[ApiKey, ...] = ()


class KeyRing:
    """The valid keys. A caller may have two, so that one can replace the other."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self.keys = tuple(keys)
        self._by_digest = {bytes.fromhex(key.sha256): key for key in self.keys}

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the entry of a key as the caller sent it. None: it is unknown or has expired."""
        digest = hashlib.sha256(presented).digest()
        # Python's hash of bytes has a random key in each process, so the time of a look-up reveals nothing.
        key = self._by_digest.get(digest)
        if key is None or not hmac.compare_digest(bytes.fromhex(key.sha256), digest):
            return None
        if key.expires is not None and key.expires <= datetime.now(UTC):
            return None
        return key


def new_key() -> tuple[str, str]:
    """Return a new key, to be shown once, and the `sha256` of its entry."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def parse_keys(text: str, where: str) -> KeyRing:
    """Return the keys in a YAML or JSON text. Raises BadInput naming the entry and the field, and no value."""
    try:
        content: Any = parse_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        twice = ", or has a key twice" if isinstance(error, yaml.constructor.ConstructorError) else ""
        raise BadInput(f"{where}: is no YAML{twice}{f', line {mark.line + 1}' if mark else ''}") from None
    try:
        file = _File.model_validate({} if content is None else content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "keys"
        raise BadInput(f"{where}: {field}: {first['msg']}", field=field) from None
    for attribute in ("name", "sha256"):
        seen = set()
        for number, key in enumerate(file.keys):
            if getattr(key, attribute) in seen:
                raise BadInput(f"{where}: keys.{number}.{attribute}: stands there twice", field=f"keys.{number}")
            seen.add(getattr(key, attribute))
    return KeyRing(file.keys)


def read_keys(path: Path) -> KeyRing:
    """Return the keys in a file. Raises BadInput when it is missing, invalid, or accessible to other users."""
    try:
        with path.open(encoding="utf-8") as file:
            mode = path.stat().st_mode & 0o777
            if mode & 0o077:
                raise BadInput(f"{path}: may be read or written by others (mode {mode:04o}); run: chmod 600 {path}")
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; make it with `recsys keys new`, or unset keys_file") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is no UTF-8") from None
    if len(text) > LARGEST_FILE:
        raise BadInput(f"{path}: is over {LARGEST_FILE} bytes")
    return parse_keys(text, str(path))
