"""All that leans on what Ray does not promise to keep."""
