"""What watches the platform: Prometheus takes the rules, each alert fires, and everything names metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from recsys.config.platform import Ports
from recsys.telemetry import METRICS
from tests.support.live import REPOSITORY

PROMETHEUS = REPOSITORY / "configs" / "prometheus"
DASHBOARDS = sorted((REPOSITORY / "configs" / "grafana").glob("*.json"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not there: apt-get install prometheus")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules() -> list[dict[str, str]]:
    return [
        rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]
    ]


def expressions(dashboard: Path) -> list[str]:
    return [target["expr"] for panel in json.loads(dashboard.read_text())["panels"] for target in panel["targets"]]


def named(expression: str) -> set[str]:
    """Our metrics in it, without the endings that a histogram's parts have."""
    found = set(re.findall(r"\brecsys_\w+", expression))
    return {re.sub(r"_(bucket|count|sum)$", "", name) if name not in METRICS else name for name in found}


@needs_promtool
def test_prometheus_takes_the_config_and_the_rules():
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


@needs_promtool
def test_each_alert_fires_on_what_it_is_for():
    promtool("test", "rules", PROMETHEUS / "rules.test.yml")


def test_each_alert_has_a_test_that_makes_it_fire_and_one_in_which_it_does_not():
    fires, quiet = set(), set()
    for test in yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]:
        for alert in test["alert_rule_test"]:
            (fires if alert.get("exp_alerts") else quiet).add(alert["alertname"])
    assert fires == quiet == {rule["alert"] for rule in rules() if "alert" in rule}


def test_rules_name_metrics_that_exist():
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        assert named(rule["expr"]) <= METRICS.keys(), rule
        assert set(re.findall(r"\brecsys:\w+:\w+", rule["expr"])) <= recorded


def test_every_alert_says_what_to_do():
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"].keys() == {"summary", "fix"}
            assert rule["labels"]["severity"] in {"page", "ticket"}


@needs_promtool
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_the_queries_of_a_dashboard_are_promql(dashboard, tmp_path):
    """Checked as recording rules, with Grafana's own variables filled in."""
    filled = [e.replace("$__rate_interval", "1m").replace("$shard", ".*") for e in expressions(dashboard)]
    known = {"groups": [{"name": "g", "rules": [{"record": f"q:{i}", "expr": e} for i, e in enumerate(filled)]}]}
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(known))
    promtool("check", "rules", file)
    assert filled


def test_the_dashboards_show_every_metric_and_no_other():
    shown = set.union(*(named(e) for dashboard in DASHBOARDS for e in expressions(dashboard)))
    assert shown == METRICS.keys() - {"recsys_batch_fill_ratio"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap_and_have_units(dashboard):
    panels = json.loads(dashboard.read_text())["panels"]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len(set(places)) == len(panels)
    assert [p["id"] for p in panels] == list(range(1, len(panels) + 1))
    for panel in panels:
        seconds = any("_seconds" in target["expr"] and "_count" not in target["expr"] for target in panel["targets"])
        assert (panel["fieldConfig"]["defaults"]["unit"] == "s") == seconds, panel["title"]


def test_prometheus_looks_where_the_platform_offers_its_metrics():
    [job] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{Ports().metrics}"]}]


def test_the_page_names_every_metric():
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(recsys_\w+)`", page, re.MULTILINE))
    assert listed == METRICS.keys()


def test_the_page_explains_every_alert():
    """With its urgency, in the order of the rules."""
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    listed = re.findall(r"^\| (Recsys\w+) \| (\w+) \|", page, re.MULTILINE)
    assert listed == [(rule["alert"], rule["labels"]["severity"]) for rule in rules() if "alert" in rule]
