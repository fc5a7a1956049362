"""What changes when something inside is changed."""
