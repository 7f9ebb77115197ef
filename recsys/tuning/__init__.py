"""How the settings are chosen with which indexes find what exact search finds."""
