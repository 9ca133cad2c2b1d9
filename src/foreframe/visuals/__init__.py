"""Pictures of forecasts and scores: plain functions of arrays."""

from foreframe.visuals.curves import write_curves
from foreframe.visuals.strip import animation, strip
from foreframe.visuals.write import gif_bytes, write_gif, write_png

__all__ = ["animation", "gif_bytes", "strip", "write_curves", "write_gif", "write_png"]
