"""Answers to requests, and writes."""
