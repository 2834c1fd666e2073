"""Measuring models against known truth."""
