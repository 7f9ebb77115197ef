"""From candidates to slates: pure functions of a batch."""
