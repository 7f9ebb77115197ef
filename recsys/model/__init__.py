"""User profiles, learned item vectors, and the attention network."""
