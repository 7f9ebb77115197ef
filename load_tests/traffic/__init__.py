"""Load as users make it, over HTTP: shapes, what came back, faults of input."""
