"""The cost of the losses: time against eager PyTorch, memory of the compiled program."""
