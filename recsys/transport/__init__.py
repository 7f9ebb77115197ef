"""How calls travel: coalesced, over one line a replica, around what is late."""
