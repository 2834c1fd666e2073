"""What fits on this machine, and why it was decided so. Knows machines and workloads, never model families."""
