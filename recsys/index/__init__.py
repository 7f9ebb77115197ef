"""Vector indexes: one file an engine, found by its module name, one contract for all."""
