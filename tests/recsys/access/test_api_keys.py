from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from recsys.access.api_keys import ApiKey, KeyRing, new_key, parse_keys, read_keys
from recsys.errors import BadInput


def entry(digest: str, name: str = "shop", **more: object) -> dict[str, object]:
    return {"name": name, "sha256": digest, "scopes": ["read"]} | more


def written(folder: Path, *entries: dict[str, object], mode: int = 0o600) -> Path:
    file = folder / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": list(entries)}))
    file.chmod(mode)
    return file


def test_a_key_is_found_by_itself_alone(tmp_path: Path) -> None:
    key, digest = new_key()
    ring = read_keys(written(tmp_path, entry(digest, scopes=["read", "write"])))
    found = ring.find(key.encode())
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {"read", "write"})
    for other in (key[:-1], key + "x", key.upper(), digest, "", new_key()[0]):
        assert ring.find(other.encode()) is None


def test_a_key_is_256_random_bits_and_only_its_hash_is_kept() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key, digest in keys:
        assert len(key) == len("recsys_") + 43
        assert hashlib.sha256(key.encode()).hexdigest() == digest
        assert key.removeprefix("recsys_") not in repr(ApiKey.model_validate(entry(digest)))


def test_old_and_new_are_valid_together(tmp_path: Path) -> None:
    (old, old_digest), (new, new_digest) = new_key(), new_key()
    ring = read_keys(written(tmp_path, entry(old_digest, "shop-1"), entry(new_digest, "shop-2")))
    assert [ring.find(key.encode()).name for key in (old, new)] == ["shop-1", "shop-2"]


@pytest.mark.parametrize(("ahead_s", "opens"), [(60, True), (-1, False)])
def test_a_key_ends_when_it_says(ahead_s: int, opens: bool) -> None:
    key, digest = new_key()
    expires = datetime.now(UTC) + timedelta(seconds=ahead_s)
    ring = KeyRing([ApiKey.model_validate(entry(digest, expires=expires))])
    assert (ring.find(key.encode()) is not None) == opens


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_open_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadInput, match=rf"{mode:04o}.*chmod 600"):
        read_keys(written(tmp_path, entry("0" * 64), mode=mode))


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_read(tmp_path: Path, mode: int) -> None:
    assert read_keys(written(tmp_path, entry("0" * 64), mode=mode)).keys


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: No such file"):
        read_keys(tmp_path / "nowhere")


def test_json_is_read_as_well() -> None:
    key, digest = new_key()
    assert parse_keys(json.dumps({"keys": [entry(digest)]}), "$X").find(key.encode()) is not None


SECRET = "recsys_this-was-pasted-here-by-mistake-0123456789"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keys: {", "x: is no YAML"),
        (SECRET, "x: keys: "),
        (f"keys: [{SECRET}]", "x: keys.0: "),
        (yaml.safe_dump({"keys": [entry(SECRET)]}), "x: keys.0.sha256: "),
        (yaml.safe_dump({"keys": [entry("0" * 64, scopes=[])]}), "x: keys.0.scopes: "),
        (yaml.safe_dump({"keys": [entry("0" * 64, scopes=["root"])]}), "x: keys.0.scopes"),
        (yaml.safe_dump({"keys": [entry("0" * 64, rate=0)]}), "x: keys.0.rate: "),
        (yaml.safe_dump({"keys": [entry("0" * 64, key=SECRET)]}), "x: keys.0.key: "),
        (yaml.safe_dump({"keys": [entry("0" * 64), entry("1" * 64)]}), "x: keys.1.name: stands there twice"),
        (yaml.safe_dump({"keys": [entry("0" * 64), entry("0" * 64, "b")]}), "x: keys.1.sha256: stands there twice"),
        ("[" * 1000, "x: is no YAML"),
    ],
)
def test_what_is_wrong_is_named_and_never_repeated(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_keys(text, "x")
    assert str(caught.value).startswith(message)
    assert SECRET not in str(caught.value)


def test_an_empty_file_opens_nothing() -> None:
    ring = parse_keys("", "x")
    assert ring.keys == ()
    assert ring.find(b"") is None
