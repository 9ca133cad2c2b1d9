"""Pictures of forecasts and scores: plain functions of arrays."""

from foreframe.visuals.colours import Paint, legend, paint_for
from foreframe.visuals.curves import write_curves
from foreframe.visuals.sheet import contact_sheet
from foreframe.visuals.strip import animation, animation_frames, holds_nan, strip
from foreframe.visuals.write import gif_bytes, write_frames, write_gif, write_mp4, write_png

__all__ = [
    "Paint",
    "animation",
    "animation_frames",
    "contact_sheet",
    "gif_bytes",
    "holds_nan",
    "legend",
    "paint_for",
    "strip",
    "write_curves",
    "write_frames",
    "write_gif",
    "write_mp4",
    "write_png",
]
