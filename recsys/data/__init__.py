"""What comes from outside, as records, and what makes it acceptable."""
