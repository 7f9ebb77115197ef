"""Jobs of minutes that end in a version or a report, started by a command or by the schedule."""
