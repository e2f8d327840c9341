"""Data sets as they are published, and the stores of aligned faces that are prepared from them."""
