"""What was answered and what came of it: kept in files, and joined."""
