"""A leaderboard as a page for browsers: one file, which loads nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).with_name("leaderboard.html")


def page_html(leaderboard: Mapping[str, Any]) -> str:
    """A leaderboard as one HTML file: sortable tables, charts of errors, pictures of forecasts.

    Scripts, styles and values are in the page, which draws itself in the browser. The same values
    give the same text.

    Args:
        leaderboard: as `foreframe bench` writes it to `leaderboard.json`; None is shown as a dash.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    values = json.dumps(leaderboard, allow_nan=False)
    for sign in "<>&":  # a name must not end the script that holds it
        values = values.replace(sign, f"\\u{ord(sign):04x}")
    return TEMPLATE.read_text(encoding="utf-8").replace("{{leaderboard}}", values)
