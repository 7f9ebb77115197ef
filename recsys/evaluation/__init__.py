"""Evaluation of recommendations."""
