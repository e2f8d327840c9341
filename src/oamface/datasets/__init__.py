"""Data sets as published, and the stores they are prepared into."""
