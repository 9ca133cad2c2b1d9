"""Pictures of forecasts and scores: plain functions of arrays."""

from foreframe.visuals.colours import Paint, paint_for
from foreframe.visuals.curves import curves_png
from foreframe.visuals.display import Card, clip_png, image_html, table_html
from foreframe.visuals.strip import (
    animation,
    animation_frames,
    contact_sheet,
    members_by_name,
    strip,
    strip_of_members,
)
from foreframe.visuals.tables import ensemble_table, figures, further_tables, score_table
from foreframe.visuals.unusual import anomaly_frame, anomaly_picture
from foreframe.visuals.write import gif_bytes, write_frames, write_gif, write_mp4, write_png

__all__ = [
    "Card", "Paint", "animation", "animation_frames", "anomaly_frame", "anomaly_picture",
    "clip_png", "contact_sheet", "curves_png", "ensemble_table", "figures", "further_tables",
    "gif_bytes", "image_html",
    "members_by_name", "paint_for", "score_table", "strip", "strip_of_members",
    "table_html", "write_frames", "write_gif", "write_mp4", "write_png",
]  # fmt: skip
