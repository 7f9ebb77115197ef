"""One platform on one machine, from `up` to `down`."""
