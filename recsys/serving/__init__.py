"""What answers requests and takes writes."""
