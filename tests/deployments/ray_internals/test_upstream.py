"""What ray_internals/ leans on in Ray's sources. A failure names what changed and which file of ours is to follow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import ray

RAY = Path(ray.__file__).parent
REPLICA, CONSTANTS = "serve/_private/replica.py", "serve/_private/constants.py"
TEMPLATES = "serve/_private/haproxy_templates.py"

LEANS = {
    "loopback/start.py": [
        (
            "scripts/scripts.py",
            r"RAY_START_HOOK\]\)\(ray_params, head",
            "the hook gets the parameters",
        ),
        (
            "_private/parameter.py",
            r"self\.ray_client_server_port = ",
            "the client server has a port",
        ),
        ("_private/parameter.py", r"self\.worker_path = ", "the worker's file is a parameter"),
        ("_private/parameter.py", r"self\.setup_worker_path = ", "the setup worker's file is a parameter"),
    ],
    "loopback/worker.py": [
        (
            "serve/_private/replica.py",
            r'add_port_to_grpc_server\(self\._server, "\[::\]:0"\)',
            "replicas listen by this",
        ),
        (
            "serve/_private/replica.py",
            r"from ray\._common\.tls_utils import add_port_to_grpc_server",
            "it comes from there",
        ),
        ("_private/workers/default_worker.py", r'if __name__ == "__main__":', "a worker is run as a program"),
    ],
    "loopback/haproxy.py": [
        (TEMPLATES, r"\n  bind \*:\{\{ config\.stats_port", "the statistics page binds every interface"),
        (TEMPLATES, r"\n    bind :\{\{ config\.metrics_port", "the metrics bind every interface"),
        (TEMPLATES, r"\n    log .* local0 info\n", "every request is logged"),
        (TEMPLATES, r"\n    server .* backup\n", "a Python proxy stands in while no replica is there"),
        (TEMPLATES, r'\n    http-request return status 404 .* lf-string "Path ', "an unknown path is a bare 404"),
        (TEMPLATES, r"\n    acl healthcheck path ", "rules for requests are put before this line"),
        (TEMPLATES, r"timeout client \{\{", "the timeout for headers is put behind this line"),
        (TEMPLATES, r"\n    errorfile 503 ", "the page for an application without replicas is a file"),
        (TEMPLATES, r"# Servers in this backend", "the replicas of before are put behind this line"),
        (CONSTANTS, r'"x-request-disconnect-disabled"', "a header says not to watch callers"),
    ],
    "side_by_side.py": [
        (
            "_private/node.py",
            r"def start_api_server\(\s+self, \*, include_dashboard",
            "a node starts its dashboard by it",
        ),
        ("_private/node.py", r"def start_ray_processes\(self\):", "and behind it the raylet"),
        ("_private/node.py", r"self\.start_head_processes\(\)[\s\S]*self\.start_ray_processes\(\)", "in this order"),
        ("_private/node.py", r"webui=self\._webui_url", "workers are told the dashboard's URL"),
        ("_private/node.py", r"self\.all_processes\[ray_constants\.PROCESS_TYPE_RAYLET\] = ", "where the raylet is"),
        ("_private/services.py", r"port_retries = 0", "the dashboard has the port that was asked for, or none"),
    ],
    "lone_node.py": [
        ("_private/node.py", r"def start_monitor\(self\):", "the autoscaler's monitor is started by it"),
        ("_private/node.py", r"def start_log_monitor\(self\):", "and the reader of log files"),
        ("_private/node.py", r"def start_api_server\(\s+self, \*, include_dashboard", "and the dashboard's process"),
        ("_private/node.py", r"self\._webui_url = None", "a node without a dashboard has no URL of it"),
    ],
    "first_deploy.py": [
        (
            "serve/_private/api.py",
            r"def _create_controller_and_proxy_refs\((\s+\w+: .*){6}",
            "it starts the controller, and the proxies without waiting for them",
        ),
        (
            "serve/_private/client.py",
            r"self\._controller\.apply_config\.remote\(config\)",
            "so a config is handed over",
        ),
        ("dashboard/modules/serve/serve_head.py", r"client\.deploy_apps\(config\)", "as the dashboard does"),
    ],
    "control_store.py": [
        (
            "_private/services.py",
            r'f"--redis_address=\{redis_ip_address\}"',
            "the control store is told its Redis's host",
        ),
        ("_private/services.py", r'f"--redis_port=\{redis_port\}"', "and its port"),
        ("_private/services.py", r'f"--redis_enable_ssl=', "and whether it speaks TLS"),
    ],
    "control_loop.py": [
        (
            "serve/_private/controller.py",
            r"await self\.run_control_loop_step\(",
            "the loop calls a step of this name",
        ),
        (
            "serve/_private/controller.py",
            r"asyncio\.sleep\(CONTROL_LOOP_INTERVAL_S\)",
            "behind it the loop rests for what the module says then",
        ),
        ("serve/_private/default_impl.py", r"\(ServeController\)", "the actor is made of the module's class"),
        ("serve/_private/application_state.py", r"def list_app_statuses\(", "what is told of applications"),
        ("serve/_private/deployment_state.py", r"def get_deployment_statuses\(", "and of deployments"),
    ],
    "haproxy_looks.py": [
        (
            "serve/_private/haproxy.py",
            r"async def _wait_for_hap_availability\(\s+self,\s+proc",
            "who waits for HAProxy",
        ),
        (
            "serve/_private/haproxy.py",
            r"await self\._get_running_pid\(\) == proc\.pid",
            "how it is told that it is there",
        ),
        ("serve/_private/haproxy.py", r"await asyncio\.sleep\(0\.5\)", "and between two looks half a second passes"),
    ],
    "first_count.py": [
        ("util/metrics.py", r"if value <= 0:\n +raise ValueError", "a counter refuses 0"),
        (
            "util/metrics.py",
            r"raise ValueError\(f\"value must be >0.*\n\n        self\._record\(value, tags=tags\)",
            "behind that it calls this",
        ),
        ("serve/metrics.py", r"class Counter\(metrics\.Counter\)", "Serve's counter is one of Ray's"),
    ],
    "running_sum.py": [
        ("serve/metrics.py", r"def _add_serve_metric_tags\(tag_keys", "Serve names its labels of a metric"),
        ("serve/metrics.py", r"def _add_serve_metric_default_tags\(default_tags", "and their values"),
        ("util/metrics.py", r"from ray\._raylet import \([\s\S]*?Sum as CythonSum", "Ray has sums in C++"),
        (
            "_private/telemetry/open_telemetry_metric_recorder.py",
            r"def register_sum_metric[\s\S]*create_observable_up_down_counter",
            "the agent offers them by their own names",
        ),
    ],
    "head_entrance.py": [
        (
            "serve/_private/haproxy.py",
            r"async def update_draining\(\s+self, draining: bool",
            "HAProxy's manager takes it",
        ),
        ("serve/schema.py", r"class ProxyDetails\(ServeActorDetails\)", "Serve tells the name of the manager's actor"),
    ],
    "forking/setup_worker.py": [
        (
            "_private/workers/setup_worker.py",
            r'"--serialized-runtime-env-context"',
            "how a runtime_env comes",
        ),
    ],
    "forking/imports.py": [
        ("actor.py", r"ActorClassID\.from_random\(\)", "the id of an actor class is drawn when it is made"),
    ],
    "steady_versions.py": [
        (
            "serve/_private/deploy_utils.py",
            r"deployment_config\.version = version",
            "a deployment has the version of its application",
        ),
        ("serve/_private/deploy_utils.py", r"deployment_config\.to_proto_bytes\(\)", "this is what Serve is handed"),
        ("serve/deployment.py", r"deepcopy\(self\._deployment_config\)", "a copy keeps the class of its config"),
    ],
    "shortcut.py": [
        (
            "serve/_private/constants.py",
            r"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
            "Serve asks it for middleware",
        ),
        (REPLICA, r"servable_object=", "a replica's context names what it runs"),
    ],
}
"""File of ours -> (file of Ray's, what stands in it, what we take from that)."""


@pytest.mark.parametrize(("ours", "number"), [(ours, i) for ours, lines in LEANS.items() for i in range(len(lines))])
def test_ray_is_still_as_we_take_it(ours, number):
    """Each line of Ray that something of ours replaces, calls or edits is still there."""
    theirs, line, what = LEANS[ours][number]
    told = f"Ray {ray.__version__}, ray/{theirs}: no longer so: {what}. Look at deployments/ray_internals/{ours}."
    assert re.search(line, (RAY / theirs).read_text()), told


def test_every_file_that_imports_rays_private_parts_is_in_the_list():
    """And nothing else in deployments/ does."""
    deployments = Path(__file__).parents[3] / "deployments"
    private = re.compile(r"^\s*(?:from|import) ray\.(?:\w+\.)*_", re.MULTILINE)
    files = {str(p.relative_to(deployments)) for p in deployments.rglob("*.py") if private.search(p.read_text())}
    assert files <= {f"ray_internals/{ours}" for ours in LEANS}
