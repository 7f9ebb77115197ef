"""What tests share: platforms in one process and for real, servers, callers."""
