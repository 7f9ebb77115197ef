"""What a load test says of answers that are busy, degraded or wrong; the server is made to give them."""

import http.server
import itertools
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).parents[3]
RETRY_LATER = (429, {"code": "overloaded"})


class _Api(http.server.BaseHTTPRequestHandler):
    """Full answers; every fourth of them is `spoilt`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(self.slate(int(parse_qs(urlsplit(self.path).query)["k"][0])))

    def do_PUT(self):
        self.read()
        self.answer((200, {"sequence": 1}))

    def do_POST(self):
        body = self.read()
        self.answer((200, {"accepted": 1}) if "events" in body else self.slate(body["k"]))

    def read(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def slate(self, k):
        items = [{"item_id": f"{next(self.server.ids)}", "title": "A film"} for _ in range(k)]
        return 200, {"degraded": [], "items": items}

    def answer(self, whole):
        spoilt = next(self.server.turns) % 4 == 0
        status, body = self.server.spoilt(*whole) if spoilt else whole
        sent = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


def load(folder, spoilt, shape="spike"):
    """Folder, process and summary of a short load on a server with such answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Api) as server:
        server.spoilt, server.turns, server.ids = spoilt, itertools.count(), itertools.count(1000)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [sys.executable, "-m", "load_tests.traffic.run", f"--url=http://127.0.0.1:{server.server_port}"]
        command += [f"--shape={shape}", "--seconds=5", "--peak=40", f"--out={folder}"]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=False
        )
        server.shutdown()
    return folder, done, json.loads((folder / f"{shape}.json").read_text())


def busy_or_degraded():
    """In turn."""
    turns = itertools.cycle((True, False))

    def spoilt(status, body):
        return RETRY_LATER if next(turns) else (status, {**body, "degraded": ["shard-0"]})

    return spoilt


def short(status, body):
    """One item too few."""
    return status, {**body, "items": body["items"][1:]} if "items" in body else body


@pytest.fixture(scope="module")
def loads(tmp_path_factory):
    """The loads on servers with each kind of spoilt answers, run at the same time: each takes seconds of waiting."""
    kinds = {"busy": busy_or_degraded(), "short": short}
    with ThreadPoolExecutor(len(kinds)) as pool:
        running = {name: pool.submit(load, tmp_path_factory.mktemp(name), spoilt) for name, spoilt in kinds.items()}
        return {name: one.result() for name, one in running.items()}


def test_a_429_is_counted_apart_and_is_no_error(loads):
    folder, done, found = loads["busy"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert found["errors"] == {}
    busy, answered = (sum(call[column] for call in found["calls"]) for column in ("busy_429", "requests"))
    assert busy / (busy + answered) == pytest.approx(0.125, abs=0.04)
    assert {"rps", "p50_ms", "p95_ms", "p99_ms", "p99.9_ms", "errors", "degraded_share"} <= set(found["calls"][0])
    assert "busy_429" in done.stdout
    assert "<html" in (folder / "spike.html").read_text()


def test_answers_that_miss_something_are_a_share_and_no_error(loads):
    _, done, found = loads["busy"]
    assert done.returncode == 0, done.stdout + done.stderr
    most = max(found["calls"], key=lambda call: call["requests"])
    assert 0.03 < most["degraded_share"] < 0.4


def test_a_wrong_answer_is_an_error(loads):
    """One item too few."""
    _, done, found = loads["short"]
    assert done.returncode == 1
    assert any("9 items instead of 10" in error for error in found["errors"])
