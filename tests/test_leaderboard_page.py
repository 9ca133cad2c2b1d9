"""The leaderboard's page: it holds the values, nothing breaks out of them, and it loads nothing."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from foreframe.leaderboards.leaderboard_page import page_html
from foreframe.visuals.curves import curves_png
from foreframe.visuals.tables import Table

NASTY = "</script><script>alert('&amp;')</script><!-- \"two\" & <b>${three}</b>"
LONG = "convlstm_that_has_a_name_which_fits_no_column_of_any_table"
HEADS = [
    "rank", "MSE", "95 %", "MAE", "SSIM", "PSNR", "parameters", "G mult-adds", "s", "MiB",
    "clips seen", "minutes",
]  # fmt: skip
PIXEL = "data:image/png;base64,AA=="


def board() -> str:
    """The page of four rows, and a second table."""
    sizes = {NASTY: "3,926,800", LONG: "950,000", "tau": "44,656,001", "persistence": "-"}
    rows = {
        name: [
            f"{k}-{k + 1}", f"{50 + k}.21", "48.1-52.7", "101.31", f"0.8{9 - k}11", "21.90", size,
            "16.47", "0.031", "181", "24,000", "20.0",
        ]
        for k, (name, size) in enumerate(sizes.items(), 1)
    }  # fmt: skip
    first = Table(f"500 clips of {NASTY}", [("", head) for head in HEADS], rows, ["A note & more."])
    quoted = Table("Published", [("", "MSE")], {"made up": ["15.69"]}, [])
    curves = curves_png({"MSE": {name: [1.0, float("nan"), 2.0] for name in rows}})
    return page_html([first, quoted], curves, dict.fromkeys(rows, PIXEL))


def test_the_page_holds_the_values_and_nothing_breaks_out() -> None:
    page = board()
    assert page.count("</script>") == page.count("<script>") == 1
    assert page.count(html.escape(NASTY)) == 5  # title, caption, row, and its forecast twice
    assert all(text in page for text in (LONG, "44,656,001", "A note &amp; more.", "15.69"))


def test_the_page_loads_nothing() -> None:
    page = board()
    assert not re.search(r"https?:|@import|url\(", page)
    found = set(re.findall(r'(?:src|href)="([^",]*),', page))
    assert found == {"data:", "data:image/png;base64"}
    assert "default-src 'none'" in page


PROBE = """
<script>
addEventListener("load", () => {
  const table = document.querySelector("table");
  const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const seen = { first: names(), columns: table.tHead.rows[0].cells.length,
    sideways: document.documentElement.scrollWidth - innerWidth,
    inside: table.parentElement.scrollWidth - table.parentElement.clientWidth };
  const click = (name) => {
    const head = [...table.tHead.rows[0].cells].find((head) => head.textContent === name);
    head.firstChild.click();
    return [...names(), head.ariaSort];
  };
  seen.clicked = ["parameters", "parameters", "SSIM"].map(click);
  parent.document.body.textContent = JSON.stringify(seen);
});
</script>
</body>"""


def in_a_browser(page: str, width: int, tmp_path: Path) -> Any:
    """What the page's probe saw in a window of that width, in pixels."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    file = tmp_path / "page.html"  # the windows of browsers are wider than phones
    frame = f'<iframe width="{width}" height="800" srcdoc="{html.escape(page)}"></iframe>'
    file.write_text(frame, encoding="utf-8")
    how = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    how += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    run = subprocess.run(
        [browser, *how, file.as_uri()], capture_output=True, text=True, check=True, timeout=100
    )
    assert "CONSOLE" not in run.stderr, run.stderr
    (text,) = re.findall("<body>(.*)</body>", run.stdout)
    return json.loads(html.unescape(text))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1351])  # a phone; 1366 with a bar to scroll by
def test_a_browser_sorts_it(width: int, tmp_path: Path) -> None:
    """Columns sort as they are clicked; nothing scrolls sideways but the table in its box, and that
    not on a laptop; no error.
    """
    seen = in_a_browser(board().replace("</body>", PROBE), width, tmp_path)
    assert seen["first"] == [NASTY, LONG, "tau", "persistence"]
    assert seen["clicked"] == [
        [LONG, NASTY, "tau", "persistence", "ascending"],
        ["tau", NASTY, LONG, "persistence", "descending"],  # what is not known is last
        ["persistence", "tau", LONG, NASTY, "ascending"],
    ]
    assert seen["columns"] == 15
    assert seen["sideways"] <= 0
    assert width < 1000 or seen["inside"] <= 0
