"""Compares forecasters on the same clips, and trains them for that with equal budgets.

Contributes the verb `bench` with the call `foreframe.bench`.
"""

from foreframe.base.verbs import Verb

BENCH = Verb(
    "compare forecasters on the same clips, and train them for that",
    "foreframe.addons.bench.bench_command",
    {"bench": "foreframe.addons.bench.bench_call:bench"},
)
