"""Browser components and the small pictures and tables they are given."""
