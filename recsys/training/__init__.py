"""Learning from interactions, in closed forms: numpy and scipy, no gradient descent but the ranker's trees."""
