"""Writing what `recsys tune` chose into the config file, whose comments stay."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from deployments.machine.serve_config import ServeConfig
from recsys.config.index import IndexSpec
from recsys.data.yaml_edits import GONE, edited
from recsys.data.yaml_text import Place, parse_yaml
from recsys.files import replace

_APPLICATION: Place = ("applications", 0)


def tuned(text: str, spec: IndexSpec, ef_search: int) -> str:
    """The text of a config file with this index, and with `ef_search` in every shard's `user_config`.

    Settings of another engine that the file has are taken out; those of this one are written where they are not the
    default, or the file has them.
    """
    application = parse_yaml(text)["applications"][0]
    index = (*_APPLICATION, "args", "index")
    index_args = (application.get("args") or {}).get("index") or {}
    fields = type(spec).model_fields
    values: dict[Place, Any] = {(*index, "engine"): spec.engine}
    values |= {(*index, name): GONE for name in index_args if name not in fields}
    for name, field in fields.items():
        value = getattr(spec, name)
        if name != "engine" and (name in index_args or value != field.default):
            values[*index, name] = value
    for number, deployment in enumerate(application.get("deployments") or []):
        if str(deployment.get("name")).startswith("shard-"):
            values[*_APPLICATION, "deployments", number, "user_config", "ef_search"] = ef_search
    return edited(text, values)


def write_tuned(file: Path, spec: IndexSpec, ef_search: int) -> None:
    """Change the file. Raises BadInput, and leaves it as it is, where the result would be no config file."""
    text = tuned(file.read_text(encoding="utf-8"), spec, ef_search)
    ServeConfig.of(parse_yaml(text), file)
    replace(file, text.encode(), stat.S_IMODE(file.stat().st_mode))
