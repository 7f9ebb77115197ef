"""What takes minutes and ends in a published version or a report, by command or by schedule."""
