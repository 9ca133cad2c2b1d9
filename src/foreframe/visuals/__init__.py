"""Pictures of forecasts and scores: plain functions of arrays."""

from foreframe.visuals.colours import Paint, paint_for
from foreframe.visuals.curves import curves_png
from foreframe.visuals.display import Card, image_html
from foreframe.visuals.strip import (
    animation,
    animation_frames,
    members_by_name,
    strip,
    strip_of_members,
)
from foreframe.visuals.tables import ensemble_table, further_tables, score_table
from foreframe.visuals.write import gif_bytes, write_frames, write_gif, write_mp4, write_png

__all__ = [
    "Card", "Paint", "animation", "animation_frames",
    "curves_png", "ensemble_table", "further_tables", "gif_bytes", "image_html",
    "members_by_name", "paint_for", "score_table", "strip", "strip_of_members", "write_frames",
    "write_gif", "write_mp4", "write_png",
]  # fmt: skip
