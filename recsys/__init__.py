"""The domain of the recommendation platform; it knows nothing of Ray or HTTP."""
