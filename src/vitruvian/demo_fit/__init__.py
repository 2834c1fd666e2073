"""The demonstration of what this project is for: a network of real size under a budget that the usual flow breaks."""

from vitruvian.demo_fit.comparison import FitReport, run_demo_fit

__all__ = ["FitReport", "run_demo_fit"]
