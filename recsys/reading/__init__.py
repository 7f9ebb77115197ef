"""Files that people bring: what they are, and how they become items, events and vectors."""
