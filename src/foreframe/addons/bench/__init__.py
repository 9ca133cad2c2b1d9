"""Compares forecasters on the same clips, and trains them with equal budgets.

Contributes the verb `bench` with the call `foreframe.bench`.
"""

from foreframe.base.verbs import Verb

BENCH = Verb(
    "train forecasters and compare them on the same clips",
    "foreframe.addons.bench.bench_command",
    {"bench": "foreframe.addons.bench.comparison:bench"},
)
