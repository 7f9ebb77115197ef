"""One shard of one version in memory, and its search."""
