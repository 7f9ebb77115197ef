"""How cost grows with items, shards, candidates and clients."""
