"""Every setting, with unit, default and meaning beside it, in a file for each section."""
