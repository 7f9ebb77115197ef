"""What comes from outside, as records and files, and what makes it acceptable."""
