"""Extreme tokens: attention sinks, drained values, massive activations, and heads that only act on some texts."""
