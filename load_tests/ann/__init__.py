"""Our shard with each engine beside the libraries and stores themselves, at the same recall."""
