"""Fitting losses to human judgements, and scoring them."""
