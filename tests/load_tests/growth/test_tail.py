"""The simulated scatter-gather against what can be worked out by hand."""

import http.server
import threading

import numpy as np
import pytest

from load_tests.growth.probe import probe
from load_tests.growth.tail import gather

# One call in a hundred takes 50 ms, the others 1 ms.
TWO = np.array([1.0] * 9900 + [50.0] * 100)


def test_the_rare_slow_call_of_one_shard_is_the_common_case_of_many():
    """Of 100 shards, 1 - 0.99^100 = 63 % of answers meet a slow one."""
    assert gather(TWO, 1, None, None)["p50_ms"] == 1.0
    assert gather(TWO, 100, None, None)["p50_ms"] == 50.0


@pytest.mark.parametrize("shards", [1, 8, 100])
def test_a_deadline_bounds_the_wait_and_says_what_it_cost(shards):
    found = gather(TWO, shards, 10.0, None)
    assert found["p999_ms"] == 10.0
    assert found["partial"] == pytest.approx(1 - 0.99**shards, abs=0.01)
    assert found["missing"] == pytest.approx(0.01, rel=0.15)
    assert found["calls"] == 1.0


def test_a_hedge_takes_the_first_of_two_answers():
    """Both are slow once in 10,000 calls, so in 1 % of answers of 100 shards."""
    found = gather(TWO, 100, None, 2.0)
    assert found["p50_ms"] == 3.0  # asked again after 2 ms, answered 1 ms later
    assert found["calls"] == pytest.approx(1.01, abs=0.001)
    assert gather(TWO, 50, None, 2.0)["p99_ms"] == 3.0
    assert gather(TWO, 400, None, 2.0)["p99_ms"] == 50.0


def test_percentiles_that_the_samples_do_not_reach_are_marked():
    """The slowest of 100 calls is mostly one of the 1 % largest, of which a small sample has too few."""
    small = np.linspace(1.0, 2.0, 500)
    assert gather(small, 1, None, None)["beyond"] == ["p99_ms", "p999_ms"]
    assert gather(small, 100, None, None)["beyond"] == ["p50_ms", "p99_ms", "p999_ms"]
    assert gather(np.linspace(1.0, 2.0, 100_000), 1, None, None)["beyond"] == []


class _Status(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"shards": [{"shard": 0}, {"shard": 1}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_the_slowest_of_two_shards_is_not_taken_for_one():
    with http.server.HTTPServer(("127.0.0.1", 0), _Status) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(SystemExit, match="2 shards"):
            probe(f"http://127.0.0.1:{server.server_port}", "/USER", 10, 100.0, 10, 5.0)
