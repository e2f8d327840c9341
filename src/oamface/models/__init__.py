"""The network in torch: its parts, pruning, and reading it from a model file. Nothing here knows how it is trained."""
