"""The network, in torch: knows tensors only, neither files nor how it is trained."""
