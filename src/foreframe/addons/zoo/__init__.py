"""Networks of papers other than ConvLSTM, converters of the authors' checkpoints, and datasets of
the field by name.

Contributes models, cores, presets, recipes, weights, datasets, originals and the verb `convert`
with the call `foreframe.convert`.
"""

from pathlib import Path

from foreframe.base.verbs import Verb

RECIPES = Path(__file__).parent / "recipes"
WEIGHTS = Path(__file__).parent / "weights"

CONVERT = Verb(
    "convert a checkpoint of a paper's own code to a forecaster",
    "foreframe.addons.zoo.convert_command",
    {"convert": "foreframe.addons.zoo.convert_call:convert"},
)
