from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig, for_serve, read_for_serve
from recsys.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
ROOT = Path(__file__).parents[3]


def written(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    return file


def test_the_local_config_file_is_good() -> None:
    config = read_for_serve(ROOT / "configs" / "local.yaml")
    assert config.platform.shards == 2
    assert config.serving.limits.k == 100
    assert config.tuning.ef_search == 64
    assert config.api_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is no YAML"),
        ("[]", "needs a list `applications`"),
        ("", "needs a list `applications`"),
        ("applications: [{name: a}]", "import_path"),
        ("applications: [{name: a, import_path: 'm:a', replicas: 2}]", "applications[0].replicas is no setting"),
        (
            "applications: [{name: a, import_path: 'm:a', deployments: [{name: b, max_ongoing_request: 1}]}]",
            "applications[0].deployments[0].max_ongoing_request is no setting",
        ),
        ("{http_options: {port: eighty}, applications: [{name: a, import_path: 'm:a'}]}", "http_options.port"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_for_serve(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("      shards: 2 ", "      shards: none ", "args.shards"),
        ("          max_batch: 64 ", "          max_batch: 0 ", "Composer.user_config.max_batch"),
        ("            k: 100 ", "            kk: 100 ", "user_config.limits.kk"),
        ("              caps: {} ", "              caps: {colour: 2} ", "scenarios.home.caps.colour"),
        ("          threads: 1 ", "          threads: 0 ", "shard-0.user_config.threads"),
        ("      - name: Encoder ", "      - name: Encodr ", "there is no 'Encodr'"),
        ("  port: 8000 ", "  port: eighty ", "http_options.port"),
        ("  log_level: INFO ", "  log_levle: INFO ", "logging_config.log_levle"),
        ("        max_ongoing_requests: 1000", "        max_requests: 1000", "deployments[0].max_requests"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, field: str) -> None:
    """Whether Ray's schema finds it or ours."""
    text = (ROOT / "configs" / "local.yaml").read_text()
    file = written(tmp_path, text.replace(old, new, 1))
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(BadInput) as caught:
        read_for_serve(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert field in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml: No such file"):
        read_for_serve(tmp_path / "nowhere.yaml")


def test_wrong_args_are_named() -> None:
    with pytest.raises(BadInput, match=r"applications\[0\]\.args.shards: must be at least 1, not 0"):
        ServeConfig.of({"applications": [{"args": {"shards": 0}}]})


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://127.0.0.1:8000"),
        ({"host": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:8000"),
        ({"host": "192.0.2.9"}, "http://192.0.2.9:8000"),
    ],
)
def test_the_api_url_is_one_that_this_machine_reaches(options: dict[str, object], url: str) -> None:
    assert ServeConfig.of({"http_options": options, "applications": [{}]}).api_url == url


def test_serve_is_given_neither_tls_nor_a_password() -> None:
    tls = {"ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"}
    for url, given in (
        ("redis://u:secret@h", {"shards": 1}),
        ("redis://h?password=secret", {"shards": 1}),
        ("redis://h:6379/0", {"shards": 1, "redis_url": "redis://h:6379/0"}),
        (None, {"shards": 1, "redis_url": None}),
    ):
        known = {
            "http_options": {"host": "::1"} | tls,
            "applications": [{"name": "a", "args": {"shards": 1, "redis_url": url}}],
        }
        assert for_serve(known) == {"http_options": {"host": "::1"}, "applications": [{"name": "a", "args": given}]}
        assert ServeConfig.of(known).api_url == "https://[::1]:8000"


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_keyfile_password"])
def test_what_of_tls_is_not_supported_is_refused(option: str) -> None:
    with pytest.raises(BadInput, match=f"http_options.{option}: is not supported"):
        _ = ServeConfig.of({"http_options": {option: "x"}, "applications": [{}]}).certificate


def local(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """configs/local.yaml with its application changed."""
    known = orjson.loads(orjson.dumps(yaml.safe_load((ROOT / "configs" / "local.yaml").read_text())))  # no aliases
    change(known["applications"][0])
    return written(folder, yaml.safe_dump(known))


def entry(application: dict[str, Any], name: str) -> dict[str, Any]:
    return next(d for d in application["deployments"] if d["name"] == name)


def put(name: str, *path: str, value: object) -> Callable[[dict[str, Any]], object]:
    """A change of one setting of a deployment."""

    def change(application: dict[str, Any]) -> None:
        *inner, last = path
        at = entry(application, name)
        for key in inner:
            at = at[key]
        at[last] = value

    return change


SCALING = ("autoscaling_config",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("Composer", "user_config", "max_batch", value=0),
            "Composer.user_config.max_batch: must be at least 1, not 0",
        ),
        (
            put("Composer", "user_config", "flight", value=1),
            "Composer.user_config.flight: is not known; the fields are",
        ),
        (
            put("Composer", "user_config", "event_types", "view", "wieght", value=1),
            "Composer.user_config.event_types.view.wieght: is not known; the fields are weight",
        ),
        (
            lambda a: entry(a, "Composer")["user_config"]["scenarios"].pop("rank"),
            "Composer.user_config: scenarios: rank missing",
        ),
        (
            put("Composer", "user_config", "scenarios", "home", "caps", value={"genre": 2}),
            "scenarios.home.caps.genre: declare it under args.attributes",
        ),
        (
            put("Encoder", "user_config", "max_batch", value=0),
            "Encoder.user_config.max_batch: must be at least 1, not 0",
        ),
        (put("shard-1", "user_config", "threads", value=0), "shard-1.user_config.threads: must be at least 1, not 0"),
        (
            put("Composer", "name", value="Compser"),
            "there is no 'Compser', only Composer, Encoder, shard-0, shard-1, …; did you",
        ),
        (put("shard-1", "name", value="shard-01"), "there is no 'shard-01'"),
        (
            put("shard-0", *SCALING, "min_replicas", value=0),
            "shard-0.autoscaling_config.min_replicas: must be 1 or more",
        ),
        (put("shard-0", *SCALING, "initial_replicas", value=0), "initial_replicas: must be 1 or more"),
        (
            put("Composer", *SCALING, "policy", "policy_kwargs", value={"bussy": 0.5}),
            "policy_kwargs.bussy: is no target",
        ),
        (
            put("Composer", *SCALING, "policy", "policy_kwargs", value={"busy": 0}),
            "policy_kwargs.busy: must be a number over 0",
        ),
        (lambda a: a["args"].update(shards=0), "applications[0].args.shards: must be at least 1, not 0"),
    ],
)
def test_what_replicas_could_not_go_by_is_refused_before_they_see_it(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """Handed on by Serve, each of these ended every replica of its deployment, or left none to start."""
    with pytest.raises(BadInput) as caught:
        read_for_serve(local(tmp_path, change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r":1: .*'name' stands there twice"):
        read_for_serve(written(tmp_path, "applications: [{name: a, name: b, import_path: 'm:a'}]"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a["args"].update(shards=3), "args.shards is 3, and shard-2 is missing"),
        (lambda a: a["args"].update(shards=1), "args.shards is 1, and shard-1 is one too many"),
        (lambda a: a["deployments"].pop(1), "Encoder is missing"),
        (lambda a: a["deployments"].append(entry(a, "Encoder")), "Encoder stands there twice"),
    ],
)
def test_a_platform_starts_with_all_of_its_deployments_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """One that is left out would run with Serve's defaults, which allow a replica five requests at a time."""
    file = local(tmp_path, change)
    with pytest.raises(BadInput, match=message):
        Runtime(tmp_path / "var").up(read_for_serve(file))


def test_of_another_builder_only_the_args_are_judged(tmp_path: Path) -> None:
    """They say where the platform's home is; its deployments are its own."""
    text = "applications: [{name: a, import_path: 'm:a', args: {shards: 3}, deployments: [{name: b}]}]"
    assert read_for_serve(written(tmp_path, text)).platform.shards == 3
    with pytest.raises(BadInput, match=r"args\.shards"):
        read_for_serve(written(tmp_path, text.replace("shards: 3", "shards: 0")))
