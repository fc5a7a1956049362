"""Queries and keys of heads in one space, heads that are alike, and what their weights do together."""
