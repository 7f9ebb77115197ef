"""Load against a running platform over HTTP, and side-by-side measurements with other ways to build it."""
