"""Replicas in a fraction of a second: a process that has imported everything forks the workers that Ray asks for.

A new Python process that becomes a replica imports Ray, Serve, FastAPI and ours first: 2.3 s of CPU, by far the most of
what a replica takes to start. `server` has imported them and forks; what Ray starts as a worker asks it by `client`,
and ends once it has been answered. Where the server does not answer, or a worker is to have another environment than
its own, the worker starts as Ray's own would. `setup_worker` is the way of workers with a `runtime_env`, as replicas.
"""
