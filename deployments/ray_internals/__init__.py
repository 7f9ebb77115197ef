"""All that leans on what Ray 2.60 does not promise to keep.

| file | what it changes | where in Ray | why |
| --- | --- | --- | --- |
| `loopback/start.py` | the worker files, no client server | ray/_private/parameter.py | port 10001 has no flag; forks |
| `loopback/worker.py` | gRPC on one address | ray/serve/_private/replica.py | it listens on `[::]:0` |
| `loopback/haproxy.py` | HAProxy's configuration | ray/serve/_private/haproxy_templates.py | nothing configures it |
| `forking/setup_worker.py` | the start of replicas | ray/_private/workers/setup_worker.py | a fork takes them, too |
| `forking/imports.py` | the seed of actor class ids | ray/actor.py | forks would give two things one id |
| `side_by_side.py` | the order of a node's processes | ray/_private/node.py | each waits for imports |
| `first_deploy.py` | how Serve gets its first config | ray/serve/_private/api.py | the dashboard imports Serve first |
| `control_loop.py` | how often Serve looks | ray/serve/_private/controller.py | one pace is too slow or dear |
| `control_store.py` | the start of Ray's control store | ray/_private/services.py | it ends with its Redis |
| `haproxy_looks.py` | how often HAProxy is looked for | ray/serve/_private/haproxy.py | half a second is long |
| `first_count.py` | counters begin at 0 | ray/util/metrics.py | `inc` refuses 0 |
| `running_sum.py` | sums without `_total` in their names | ray/util/metrics.py | histograms are told value by value |
| `head_entrance.py` | when the head's HAProxy reports that it goes | ray/serve/_private/haproxy.py | Serve keeps it |
| `steady_versions.py` | the version of a deployment | ray/serve/_private/config.py | a new shard would restart all |
| `lone_node.py` | what a job's own Ray starts | ray/_private/node.py | three imports of Ray that nobody uses |
| `shortcut.py` | the hottest call's way | ray/serve/_private/http_util.py | Serve's wrapper is a third of its time |

tests/deployments/ray_internals/test_upstream.py says in words which of them a newer Ray would break.
"""
