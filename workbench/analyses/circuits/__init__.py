"""Which parts of a model carry a behaviour, and along which edges."""
