"""Scores of all heads on inputs made for the purpose."""
