"""A config file that a platform has started with is not checked by Serve's schema again; any other is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deployments.machine.passed_config import note_passed
from deployments.machine.serve_config import read_for_serve
from recsys.errors import BadInput

LOCAL = Path(__file__).parents[3] / "configs" / "local.yaml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of the laptop's file, with a home of its own."""
    document = yaml.safe_load(LOCAL.read_text())
    document["applications"][0]["args"]["data_dir"] = str(tmp_path / "home")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


READ = """
import sys
from pathlib import Path
from deployments.machine.serve_config import read_for_serve
print(read_for_serve(Path(sys.argv[1])).platform.shards, "ray" in sys.modules)
"""


def read_elsewhere(config: Path) -> str:
    """Its shards, as a new process reads it, and whether that has imported Ray."""
    done = subprocess.run([sys.executable, "-c", READ, config], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


def test_a_file_that_has_passed_is_read_without_serves_schema(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is not even imported; the config is the same."""
    first = read_for_serve(config)
    (home := first.platform.home()).joinpath("run").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "ray.serve.schema", None)  # whoever imports it, fails
        with pytest.raises(ModuleNotFoundError, match=r"ray\.serve\.schema"):
            read_for_serve(config)
        note_passed(first.document, home)
        assert read_for_serve(config) == first
    assert read_elsewhere(config) == "2 False"


@pytest.mark.parametrize("change", [("max_ongoing_requests", "many"), ("max_ongoing_request", 5)])
def test_a_changed_file_is_checked(config: Path, change: tuple[str, object]) -> None:
    """A fault that only Serve's schema finds is found, though the file of before has passed."""
    before = read_for_serve(config)
    (home := before.platform.home()).joinpath("run").mkdir(parents=True)
    note_passed(before.document, home)
    document = yaml.safe_load(config.read_text())
    name, value = change
    document["applications"][0]["deployments"][1][name] = value
    config.write_text(yaml.safe_dump(document))
    with pytest.raises(BadInput, match=name):
        read_for_serve(config)


def test_a_file_in_bad_order_is_told_as_before(tmp_path: Path) -> None:
    """One that is no document of Serve's at all gets the schema's words, and no traceback."""
    file = tmp_path / "config.yaml"
    file.write_text("applications: []")
    with pytest.raises(BadInput):
        read_for_serve(file)
