"""One module for each data set: `read(archive)` returns its index."""
