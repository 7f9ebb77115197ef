"""Copies of what a platform knows, at one moment."""
