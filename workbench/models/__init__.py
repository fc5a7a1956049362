"""Models of any family behind one interface."""
