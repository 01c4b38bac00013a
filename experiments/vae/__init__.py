"""Variational autoencoders trained with a perceptual loss (paper, section 4.2)."""
