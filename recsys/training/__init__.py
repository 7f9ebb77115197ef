"""Training on interactions, and the baselines for comparison."""
