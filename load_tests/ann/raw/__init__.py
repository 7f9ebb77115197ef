"""Libraries and stores as they come, each with the least code that builds and searches it."""
