"""What a model does with the examples and words of its own prompt: which algorithm its answers are those of."""
