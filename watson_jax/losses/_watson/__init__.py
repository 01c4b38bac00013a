"""Watson-DCT and Watson-DFT."""
