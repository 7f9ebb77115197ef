"""Parts measured alone: encoders, index engines, versions."""
