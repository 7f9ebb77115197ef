"""Simulated experiments whose truth is known: what the statistics say of them, a thousand times."""
