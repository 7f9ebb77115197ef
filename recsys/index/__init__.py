"""Vector engines with one contract."""
