from __future__ import annotations

from pathlib import Path

import pytest

from deployments.serve_config import (
    api_url,
    certificate_of,
    for_serve,
    platform_of,
    serve_config,
    serving_of,
    tuning_of,
)
from recsys.errors import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    file = folder / "config.yaml"
    file.write_text(text)
    return file


def test_the_local_config_file_is_good() -> None:
    known = serve_config(ROOT / "configs" / "local.yaml")
    assert platform_of(known).shards == 2
    assert serving_of(known).limits.k == 100
    assert tuning_of(known, 1).ef_search == 64
    assert api_url(known) == "http://127.0.0.1:8000"


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
        serve_config(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.yaml: No such file"):
        serve_config(tmp_path / "nowhere.yaml")


def test_wrong_args_are_named() -> None:
    with pytest.raises(BadInput, match=r"applications\[0\]\.args: shards: .*greater than or equal to 1"):
        platform_of({"applications": [{"args": {"shards": 0}}]})


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
    assert api_url({"http_options": options, "applications": [{}]}) == url


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
        assert api_url(known) == "https://[::1]:8000"


@pytest.mark.parametrize("option", ["ssl_ca_certs", "ssl_keyfile_password"])
def test_what_of_tls_is_not_supported_is_refused(option: str) -> None:
    with pytest.raises(BadInput, match=f"http_options.{option}: is not supported"):
        certificate_of({"http_options": {option: "x"}, "applications": [{}]})
