"""Trained readers of activations, registered through the entry point that any plugin uses."""
