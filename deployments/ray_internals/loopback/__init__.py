"""Keeps a cluster of one machine on 127.0.0.1: the three places where no setting of Ray 2.60 does it.

`start` changes what `ray start` would open, `worker` the replicas' gRPC port, `haproxy` HAProxy's own pages.
"""
