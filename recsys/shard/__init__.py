"""One shard of a version in memory, and its search."""
