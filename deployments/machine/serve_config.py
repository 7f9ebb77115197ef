"""Reading of the Serve config file, the only configuration of a platform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ValidationError

from deployments.machine.config_check import is_ours, judge, judge_complete
from deployments.machine.config_lines import located
from deployments.machine.passed_config import has_passed
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.data.wording import first_fault
from recsys.data.yaml_text import parse_yaml
from recsys.errors import BadInput
from recsys.serving.settings_follower import parsed
from recsys.state.redis_url import holds_secret

ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, slots=True)
class ServeConfig(Config):
    """A Serve config file. A command reads and checks it once, and passes it on."""

    document: dict[str, Any]
    """The content of the file. `for_serve` converts it to what Serve is given."""
    file: Path
    """The path of the file, for messages and for `instance.json`."""

    @classmethod
    def of(cls, document: dict[str, Any], file: Path = Path()) -> Self:
        """Return the config of a document. Raises BadInput, in one line that names the field, for an invalid setting.

        `platform` is read from the `args` of the first application, `serving` from the Composer's `user_config`, and
        `tuning` from shard-0's. An application of another builder is not checked further.
        """
        application = document["applications"][0]
        platform = parsed(Platform, application.get("args"), "applications[0].args")
        serving = parsed(Serving, _user_config(application, "Composer"), "Composer.user_config")
        tuning = parsed(ShardTuning, _user_config(application, "shard-0"), "shard-0.user_config")
        if is_ours(application):
            judge(application, platform, serving)
        return cls(platform, serving, tuning, document, file)

    @property
    def api_url(self) -> str:
        """The API's URL on this machine."""
        host, port = self.http_address
        prefix = (self.document["applications"][0].get("route_prefix") or "/").rstrip("/")
        name = "127.0.0.1" if host in ALL_INTERFACES else f"[{host}]" if ":" in host else host
        return f"http{'s' if self.certificate else ''}://{name}:{port}{prefix}"

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port that the API listens on. Serve's defaults are all interfaces and 8000."""
        options = self._http_options
        return str(options.get("host") or ALL_INTERFACES[0]), int(options.get("port") or 8000)

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The files of the API's TLS certificate chain and its key. None: the API speaks plain HTTP.

        Raises BadInput for an encrypted key and for client certificates, which are not supported.
        """
        options = self._http_options
        for option, fix in (
            ("ssl_keyfile_password", "give the key unencrypted, in a file of mode 0600"),
            ("ssl_ca_certs", "callers show API keys; ask for their certificates in a proxy in front"),
        ):
            if options.get(option):
                raise BadInput(f"http_options.{option}: is not supported; {fix}", field=f"http_options.{option}")
        certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
        return (Path(certificate).resolve(), Path(key).resolve()) if certificate and key else None

    @property
    def _http_options(self) -> dict[str, Any]:
        return self.document.get("http_options") or {}


def read_config(file: Path) -> ServeConfig:
    """Read a file and check it by this project's schema. Ray's takes a second to import.

    Raises BadInput, in one line with the line in the file, for the first fault.
    """
    text, document = _read(file)
    with located(file, text, document):
        return ServeConfig.of(document, file)


def read_for_serve(file: Path) -> ServeConfig:
    """Read a file that is given to Serve. Check it by Ray's schema too, and that it names every deployment.

    Raises BadInput as `read_config` does.
    """
    text, document = _read(file)
    with located(file, text, document):
        config = _passed_before(document, file)
        if config is None:
            _check_by_serve(document)
            config = ServeConfig.of(document, file)
        if is_ours(application := document["applications"][0]):
            judge_complete(application, config.platform.shards)
    return config


def _passed_before(document: dict[str, Any], file: Path) -> ServeConfig | None:
    """The config of a document that Serve's schema has passed already, as far as this home knows."""
    try:
        config = ServeConfig.of(document, file)
    except Exception:  # noqa: BLE001 - whatever is wrong with it is told by the schema, or the second time
        return None
    return config if has_passed(document, config.platform.home()) else None


def _check_by_serve(document: dict[str, Any]) -> None:
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - takes a second; most commands do not need it

    try:
        ServeDeploySchema.model_validate(document)
    except ValidationError as error:
        raise first_fault(error, ServeDeploySchema, whole="the file") from None
    # Ray's schema ignores unknown keys, so a misspelt one would silently leave the default.
    for where in _unknown(ServeDeploySchema, document):
        raise BadInput(f"{where} is no setting of Ray Serve", field=where)


def for_serve(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document that Serve is given.

    It has no TLS, which HAProxy terminates: Serve would configure the replicas for it. It has no Redis URL with a
    password: Serve logs an application's arguments. Replicas read the URL from $RECSYS_REDIS_URL.
    """
    options = document.get("http_options") or {}
    plain = {name: value for name, value in options.items() if not name.startswith("ssl_")}
    applications = [
        app | {"args": {name: value for name, value in args.items() if name != "redis_url"}}
        if holds_secret((args := app.get("args") or {}).get("redis_url") or "")
        else app
        for app in document["applications"]
    ]
    return document | {"http_options": plain, "applications": applications}


def _unknown(schema: type[BaseModel], value: Any, at: str = "") -> Iterator[str]:
    """Yield the paths of keys that the schema and its nested schemas do not have."""
    for key, inner in value.items():
        if key not in schema.model_fields:
            yield f"{at}{key}"
            continue
        for model in _models(schema.model_fields[key].annotation):
            for number, entry in enumerate(inner if isinstance(inner, list) else [inner]):
                place = f"{key}[{number}]" if isinstance(inner, list) else key
                if isinstance(entry, dict):
                    yield from _unknown(model, entry, f"{at}{place}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models in an annotation such as list[Model] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _user_config(application: dict[str, Any], deployment: str) -> Any:
    for entry in application.get("deployments") or []:
        if entry["name"] == deployment:
            return entry.get("user_config")
    return None


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the text and the document of a file. Raises BadInput unless it has an application."""
    try:
        text = file.read_text(encoding="utf-8")
        document = parse_yaml(text)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}; name another with --config") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInput(f"{file}{line}: is no YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: is no YAML: {' '.join(str(error).split())}") from None
    applications = document.get("applications") if isinstance(document, dict) else None
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise BadInput(f"{file} is no Serve config file: it needs a list `applications`", field="applications")
    return text, document
