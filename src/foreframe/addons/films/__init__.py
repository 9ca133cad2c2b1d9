"""Films: moving objects as layers in front of a background, and weights for any film.

Contributes the weights `scenes`, the baseline `layered_motion` and the match `layers`.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
