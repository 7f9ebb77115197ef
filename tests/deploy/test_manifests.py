"""The manifests: what Kubernetes' own schemas, KubeRay's definition and our config check say of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deployments.machine.serve_config import read_for_serve

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.33"
CUSTOM = {"RayService", "ServiceMonitor", "Kustomization"}
"""Kinds that Kubernetes' schemas do not know."""

RAY_SERVICE = {
    "rayClusterDeletionDelaySeconds", "serveService", "upgradeStrategy", "managedBy", "serveConfigV2",
    "rayClusterConfig", "excludeHeadPodFromServeSvc", "suspend",
}  # fmt: skip
RAY_CLUSTER = {
    "upgradeStrategy", "authOptions", "suspend", "managedBy", "autoscalerOptions", "headServiceAnnotations",
    "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "networkPolicy", "tlsOptions", "headGroupSpec",
    "rayVersion", "workerGroupSpecs",
}  # fmt: skip
"""Fields of `ray.io/v1` in KubeRay's rayservice_types.go and raycluster_types.go of August 2026."""


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name == "config.yaml":
            continue
        for document in yaml.safe_load_all(path.read_text()):
            yield f"{path.name}:{document['kind']}", document


DOCUMENTS = {f"{name}:{(one.get('metadata') or {}).get('name')}": one for name, one in documents()}
RAY = DOCUMENTS["rayservice.yaml:RayService:recsys"]
CLUSTER = RAY["spec"]["rayClusterConfig"]
GROUPS = {"head": CLUSTER["headGroupSpec"], "worker": CLUSTER["workerGroupSpecs"][0]}


@pytest.mark.parametrize("name", [n for n, d in DOCUMENTS.items() if d["kind"] not in CUSTOM])
def test_each_resource_is_what_kubernetes_takes(name: str) -> None:
    """No field that the schema does not have, and none of another type."""
    kubernetes_validate.validate(DOCUMENTS[name], KUBERNETES, strict=True)


@pytest.mark.parametrize("group", GROUPS)
def test_the_pods_of_the_ray_service_are_what_kubernetes_takes(group: str) -> None:
    template = GROUPS[group]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", **template["metadata"]},
        "spec": template["spec"],
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_a_field_that_kubernetes_does_not_have_is_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_ray_service_has_fields_of_kuberay_only() -> None:
    assert RAY["apiVersion"] == "ray.io/v1"
    assert RAY["spec"].keys() <= RAY_SERVICE
    assert CLUSTER.keys() <= RAY_CLUSTER
    assert CLUSTER["gcsFaultToleranceOptions"].keys() <= {"redisAddress", "redisPassword", "externalStorageNamespace"}
    assert GROUPS["head"].keys() <= {"rayStartParams", "template"}
    groups = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert GROUPS["worker"].keys() <= groups


def test_serve_is_given_the_file_that_the_pods_have() -> None:
    """What kustomize makes of the folder: the images, and the config file copied into the RayService."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl, which builds the folder, is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    built = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    service, config = built["RayService", "recsys"], (FOLDER / "config.yaml").read_text()
    assert service["spec"]["serveConfigV2"] == built["ConfigMap", "recsys-config"]["data"]["config.yaml"] == config
    cluster = service["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group["template"]["spec"]["containers"][0]["image"].startswith("registry.example/recsys:")
    assert {one["metadata"].get("namespace") for (kind, _), one in built.items() if kind != "Namespace"} == {"recsys"}


@pytest.mark.parametrize("group", GROUPS)
def test_each_pod_is_locked_down_and_watched(group: str) -> None:
    """Not root, read-only, no privileges, no token of Kubernetes; probes, resources, spread, drained before it ends."""
    spec = GROUPS[group]["template"]["spec"]
    [container] = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    assert {one["topologyKey"] for one in spec["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname", "topology.kubernetes.io/zone",
    }  # fmt: skip
    drain = " ".join(container["lifecycle"]["preStop"]["exec"]["command"])
    assert "recsys node drain" in drain
    within = int(drain.rpartition("--within ")[2])
    assert within < spec["terminationGracePeriodSeconds"]
    written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/data", "/tmp", "/dev/shm"}


def test_what_the_pods_name_is_there() -> None:
    """Secrets, config maps, ports and labels by which files refer to each other."""
    secrets = {d["metadata"]["name"]: d for d in DOCUMENTS.values() if d["kind"] == "Secret"}
    named = {one["name"]: one.get("key") for one in _references(list(DOCUMENTS.values()), "secretKeyRef")}
    assert named.keys() | {"recsys-object-store", "recsys-tls", "recsys-ray-token"} == secrets.keys()
    assert all(key in secrets[name]["stringData"] for name, key in named.items())
    assert CLUSTER["authOptions"]["secretName"] in secrets
    assert "auth_token" in secrets[CLUSTER["authOptions"]["secretName"]]["stringData"]
    kustomization = DOCUMENTS["kustomization.yaml:Kustomization:None"]
    assert {p.name for p in FOLDER.glob("*.yaml")} == {
        *kustomization["resources"], "kustomization.yaml", "config.yaml", "secrets.example.yaml",
    }  # fmt: skip
    labels = GROUPS["worker"]["template"]["metadata"]["labels"].items()
    for name in ("disruption.yaml:PodDisruptionBudget:recsys", "network.yaml:NetworkPolicy:recsys"):
        spec = DOCUMENTS[name]["spec"]
        assert (spec.get("selector") or spec["podSelector"])["matchLabels"].items() <= labels
    ports = {
        port["name"]: port["containerPort"] for port in GROUPS["head"]["template"]["spec"]["containers"][0]["ports"]
    }
    platform = read_for_serve(FOLDER / "config.yaml").platform
    expected = {
        "gcs-server": platform.ports.gcs,
        "dashboard": platform.ports.dashboard,
        "metrics": platform.ports.metrics,
    }
    assert ports == {"http": 8000, **expected}
    services = [d for d in DOCUMENTS.values() if d["kind"] == "Service" and d["metadata"]["name"] != "valkey"]
    assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} == {"http", "metrics"}
    allowed = {
        port["port"]
        for rule in DOCUMENTS["network.yaml:NetworkPolicy:recsys"]["spec"]["ingress"]
        for port in rule.get("ports", [])
    }
    assert allowed == {8000, platform.ports.dashboard, platform.ports.metrics}


def test_the_metrics_are_scraped_as_prometheus_does_it() -> None:
    """The relabelling of the ServiceMonitor and of compose is that of configs/prometheus."""
    [own] = yaml.safe_load((ROOT / "configs/prometheus/prometheus.yml").read_text())["scrape_configs"]
    rules = own["metric_relabel_configs"]
    [compose] = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["scrape_configs"]
    assert compose["metric_relabel_configs"] == rules
    [endpoint] = DOCUMENTS["monitoring.yaml:ServiceMonitor:recsys"]["spec"]["endpoints"]
    camel = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    assert endpoint["metricRelabelings"] == [{camel.get(k, k): v for k, v in rule.items()} for rule in rules]


@pytest.mark.parametrize("file", ["kubernetes/config.yaml", "compose/config.yaml"])
def test_the_config_files_are_right(file: str) -> None:
    config = read_for_serve(ROOT / "deploy" / file)
    assert config.http_address[0] == "0.0.0.0"
    assert config.certificate is None  # the Ingress ends TLS, and Serve is given this very file
    assert config.platform.redis_url is None  # it is a secret
    assert str(config.platform.data_dir) == "/data"


def test_compose_is_locked_down_and_names_what_is_there() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    assert compose["services"].keys() == {"valkey", "head", "worker", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (ROOT / "deploy" / source).exists() if source.startswith(".") else source in compose["volumes"]
            assert there, volume
    for name in ("head", "worker"):
        assert compose["services"][name]["user"] == "10001:10001"


def _references(value: Any, key: str) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _references(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, key)
