"""Reading the Serve config file: the only configuration there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import yaml
from pydantic import BaseModel, ValidationError

from deployments.machine.config_check import is_ours, judge, judge_complete
from deployments.machine.config_lines import located
from recsys.config import Config, Platform, Serving, ShardTuning
from recsys.data.yaml_text import parse_yaml
from recsys.errors import BadInput
from recsys.serving.settings_follower import parsed
from recsys.state.redis_url import holds_secret

ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, slots=True)
class ServeConfig(Config):
    """A Serve config file, read and judged once by a command and passed on to all that it calls."""

    document: dict[str, Any]
    """The file as it is; `for_serve` makes of it what Serve is given."""
    file: Path
    """Where it was read; for messages, and for `recsys up`, which notes it."""

    @classmethod
    def of(cls, document: dict[str, Any], file: Path = Path()) -> Self:
        """Raises BadInput, in one line that names the field, for a setting of ours that is wrong.

        The platform is the `args` of the first application, `serving` the Composer's `user_config`, and `tuning` that
        of shard-0. Of applications of other builders nothing else is judged.
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
        """Where this machine reaches the API that the file describes."""
        host, port = self.http_address
        prefix = (self.document["applications"][0].get("route_prefix") or "/").rstrip("/")
        name = "127.0.0.1" if host in ALL_INTERFACES else f"[{host}]" if ":" in host else host
        return f"http{'s' if self.certificate else ''}://{name}:{port}{prefix}"

    @property
    def http_address(self) -> tuple[str, int]:
        """Host and port that the API listens on; Serve's defaults are every interface and 8000."""
        options = self._http_options
        return str(options.get("host") or ALL_INTERFACES[0]), int(options.get("port") or 8000)

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """The API's TLS certificate, with those that vouch for it, and its key; None: the API speaks plain HTTP.

        BadInput for what HAProxy is not told here: an encrypted key, and certificates asked of callers.
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
    """The file once our schema has passed it, without Ray's, which takes a second to import.

    BadInput, in one line with the file's line, for the first thing that is wrong.
    """
    text, document = _read(file)
    with located(file, text, document):
        return ServeConfig.of(document, file)


def read_for_serve(file: Path) -> ServeConfig:
    """The file once Ray's schema has passed it as well, and it names the whole graph: for what hands it to Serve.

    BadInput as `read_config` raises it.
    """
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - takes a second, which other commands do without

    text, document = _read(file)
    with located(file, text, document):
        try:
            ServeDeploySchema.model_validate(document)
        except ValidationError as error:
            raise _refused(error) from None
        # Ray's schema passes over what it does not know, and a typing mistake would quietly leave the default.
        for where in _unknown(ServeDeploySchema, document):
            raise BadInput(f"{where} is no setting of Ray Serve", field=where)
        config = ServeConfig.of(document, file)
        if is_ours(application := document["applications"][0]):
            judge_complete(application, config.platform.shards)
    return config


def for_serve(document: dict[str, Any]) -> dict[str, Any]:
    """What Serve is given.

    Without TLS, which HAProxy ends: Serve would tell the replicas behind it to speak it. Without a Redis URL that holds
    a password: Serve writes the arguments of an application into its log. Replicas have it from $RECSYS_REDIS_URL.
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
    """The places of keys that the schema, and those within it, do not have."""
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
    """The pydantic models within an annotation such as list[Model] | None."""
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
    """The text, and the document with at least one application."""
    try:
        text = file.read_text(encoding="utf-8")
        document = parse_yaml(text)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}; name another with --config") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is no YAML: {' '.join(str(error).split())}") from None
    applications = document.get("applications") if isinstance(document, dict) else None
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise BadInput(f"{file} is no Serve config file: it needs a list `applications`", field="applications")
    return text, document


def _refused(error: ValidationError) -> BadInput:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return BadInput(f"{field or 'it'}: {first['msg']}{more}", field=field or None)
