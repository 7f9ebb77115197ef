"""Records from outside, and their validation."""
