"""What the image is made of, as far as it can be seen without building it. That nothing in it imports what it lacks:
`tests/test_imports.py`.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from recsys.config.encoder import EncoderSpec
from recsys.encoders import loading
from recsys.encoders.exported import read
from recsys.errors import VersionError

ROOT = Path(__file__).parents[2]
TORCH = {"torch", "sentence-transformers", "transformers", "onnx", "onnxscript"}


def pins(file: Path) -> dict[str, str]:
    return dict(line.split("==") for line in file.read_text().splitlines() if "==" in line and line[0] != "#")


def test_the_image_has_the_pins_that_are_tested_and_no_torch() -> None:
    whole, serving = pins(ROOT / "requirements.lock"), pins(ROOT / "deploy" / "serving.lock")
    assert serving.items() <= whole.items()
    assert not serving.keys() & TORCH
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in ("valkey", "otel", "s3") for name in project["optional-dependencies"][extra]]
    wanted = {re.match(r"[\w.-]+", line)[0].lower().replace(".", "-") for line in [*project["dependencies"], *extras]}
    assert wanted <= serving.keys()


def test_the_demo_installs_what_it_needs_and_nothing_of_the_tests() -> None:
    """Everything else comes with the first target that needs it, on top of what is there."""
    whole, demo = pins(ROOT / "requirements.lock"), pins(ROOT / "demo.lock")
    assert demo.items() <= whole.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def named(lines: list[str]) -> set[str]:
        return {re.match(r"[\w.-]+", line)[0].lower().replace(".", "-") for line in lines}

    needed = named([*project["dependencies"], *extras["local"], *extras["torch"], *extras["evaluate"]])
    assert needed <= demo.keys()
    assert "setuptools" in demo  # without isolation, the project is built with what is installed
    brought_along = {"setuptools", "py-spy"}  # by torch and Ray
    assert named([*extras["dev"], *extras["load"]]) & demo.keys() <= needed | brought_along


def test_make_installs_for_the_demo_what_it_needs(tmp_path: Path) -> None:
    def steps(target: str) -> str:
        command = ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", target]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "-r demo.lock" in steps("demo")
    assert "-r requirements.lock" not in steps("demo")
    for target in ("test", "test-quick", "check", "load"):
        assert steps(target).index("-r demo.lock") < steps(target).index("-r requirements.lock")


def test_an_encoder_that_the_image_carries_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$RECSYS_MODELS has it where the data folder does not."""
    monkeypatch.setenv("RECSYS_MODELS", str(tmp_path / "image"))
    with pytest.raises(VersionError, match=str(tmp_path / "image")):
        read(tmp_path / "data", "f")
    (tmp_path / "data" / "f").mkdir(parents=True)
    with pytest.raises(VersionError, match=str(tmp_path / "data")):
        read(tmp_path / "data", "f")


def test_an_encoder_that_has_to_be_exported_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(loading, "fingerprint", lambda _spec: "f")
    with pytest.raises(VersionError, match=r"pip install 'recsys\[torch\]'"):
        loading.prepare_encoder(EncoderSpec(backend="onnx-int8"), tmp_path)
    with pytest.raises(VersionError, match=r"encoder\.backend: torch is not installed"):
        loading.load_encoder(EncoderSpec(backend="torch"), tmp_path)


def test_what_the_dockerfile_copies_is_sent_to_it() -> None:
    """.dockerignore leaves out all but a list."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists()
        assert path.split("/")[0] in sent
