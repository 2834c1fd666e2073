"""The poses of a driving video: who finds them, which persons count, and what stands where nobody is.

Frames in, whole-body points of every frame out, in order, a few frames at a time.
"""
