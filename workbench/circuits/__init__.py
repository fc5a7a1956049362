"""Circuits: a model as a graph of what writes to the residual stream and what reads from it, edge by edge."""
