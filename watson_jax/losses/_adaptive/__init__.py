"""The Adaptive loss."""
