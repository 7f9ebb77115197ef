"""State that replicas share at run time, all of it in Redis."""
