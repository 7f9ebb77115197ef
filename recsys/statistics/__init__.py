"""Tests, intervals and estimates of experiments, as pure functions over numpy."""
