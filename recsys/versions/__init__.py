"""Versions: building, checking, storage, promotion and retention."""
