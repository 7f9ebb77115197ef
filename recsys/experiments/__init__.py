"""Experiments: what one is, what came of it, and when a variant has to stop."""
