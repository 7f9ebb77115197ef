"""Runs Python code in a fork of the process that listens at an address: `python forked_worker.py ADDRESS -u -c CODE`.

It has this process's stdin, stdout and stderr, and each of the two ends with the other.
"""

from __future__ import annotations

import socket
import sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [sys.argv[-1].encode()], [0, 1, 2])
    server.recv(1)
