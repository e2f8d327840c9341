"""How the network is trained: recipe, batches, losses, balancing, checkpoints, the loop."""
