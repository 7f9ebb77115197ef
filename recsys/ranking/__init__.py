"""From candidates to slates, as pure functions of a batch."""
