"""Learning from interactions, and the methods it is compared with."""
