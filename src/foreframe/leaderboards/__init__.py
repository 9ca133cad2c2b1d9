"""Leaderboards: forecasters that are compared on the same clips, trained before with equal budgets.

This file loads no torch, so that the command line can describe the options fast.
"""

from foreframe.leaderboards.bench_options import BenchOptions

__all__ = ["BenchOptions"]
