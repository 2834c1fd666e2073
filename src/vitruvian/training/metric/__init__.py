"""What a Metric3D network of the second kind learns from: samples, losses of every step, first values.

Nothing here but `nano*` knows rendered pictures or the small network.
"""
