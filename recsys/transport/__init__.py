"""Calls between replicas: coalescing, connections, wire format and circuit breakers."""
