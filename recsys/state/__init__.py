"""What replicas share while they run, all of it in Redis."""
