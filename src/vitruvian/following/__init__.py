"""Stable ids of people over video, and steadier outputs."""
