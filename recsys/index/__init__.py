"""Vector engines under one contract."""
