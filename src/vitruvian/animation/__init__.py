"""Driving poses of video generation: their layout, their fit to another person, and the maps they are drawn as.

Plain arrays in and out; no network, no file.
"""
