"""Faults under load: what is broken on purpose, and what callers notice. `python -m load_tests.chaos`."""
