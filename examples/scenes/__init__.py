"""Films and rain, generated without end, to learn motion from: `--data examples.scenes.Scenes`."""

from .scenes import Scenes

__all__ = ["Scenes"]
