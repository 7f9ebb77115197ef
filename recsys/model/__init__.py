"""What a version knows of users and items."""
