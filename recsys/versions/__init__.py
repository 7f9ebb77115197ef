"""Versions: built, checked, stored, promoted, kept."""
