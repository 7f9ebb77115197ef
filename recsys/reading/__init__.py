"""Users' files: their detection, and their conversion to items, events and vectors."""
