"""Precision x backend x batch of one model, measured on this machine."""

from vitruvian.bench.measuring import run_bench
from vitruvian.bench.report import BenchReport, BenchRow

__all__ = ["BenchReport", "BenchRow", "run_bench"]
