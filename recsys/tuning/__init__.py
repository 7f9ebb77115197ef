"""How a build chooses the settings with which its indexes find what exact search finds."""
