"""A leaderboard as a page for browsers: one file, which loads nothing."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from foreframe.visuals.display import image_html, table_html
from foreframe.visuals.tables import Table

TEMPLATE = Path(__file__).with_name("leaderboard.html")


def page_html(tables: Sequence[Table], curves: bytes, strips: Mapping[str, str]) -> str:
    """A leaderboard as one HTML file: tables that sort, errors by lead time, forecasts.

    Args:
        tables: the leaderboard, and further ones.
        curves: a PNG of scores by lead time.
        strips: forecasts of one clip by the names of rows, as data URLs.
    """
    first, *others = tables
    parts = [_table(first), "<h2>By lead time</h2>"]
    parts += [f'<div class="chart">{image_html(curves, "Scores by lead time")}</div>']
    parts += [_table(table) for table in others]
    if strips:
        parts.append("<h2>Forecasts</h2><p>The same clip for all: truth above, forecast below.</p>")
    for name, url in strips.items():
        picture = f'<img src="{escape(url)}" alt="Truth, and forecast of {escape(name)}">'
        parts.append(
            f"<figure><figcaption><b>{escape(name)}</b></figcaption>"
            f'<div class="scroll" tabindex="0">{picture}</div></figure>'
        )
    text = Template(TEMPLATE.read_text(encoding="utf-8"))
    return text.substitute(title=escape(first.title), body="\n".join(parts))


def _table(table: Table) -> str:
    """A table and its notes; reached by the keyboard where it scrolls."""
    heads = [" ".join(filter(None, head)) for head in table.columns]
    shown = table_html(table.title, heads, table.rows)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return f'<div class="scroll" tabindex="0">{shown}</div>{notes}'
