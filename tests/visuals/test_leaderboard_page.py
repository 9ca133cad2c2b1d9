"""The leaderboard's page: it holds the values, nothing breaks out of them, and it loads nothing."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreframe.visuals.display import png_bytes
from foreframe.visuals.leaderboard_page import page_html

NASTY = "</script><script>alert('&amp;')</script><!-- \"two\" & <b>three</b>"

LONG = "convlstm_that_has_a_name_which_fits_no_column_of_any_table"


def row(name: str, kind: str, rank: tuple[int, int] | None, mse: float, **more: Any) -> dict:
    """A row of constructed numbers: errors that grow with lead time, to `mse` in all."""
    growth = np.linspace(0.4, 1.6, 10)
    strip = np.full((2, 64, 10, 64, 3), 40, np.uint8)  # a square that moves, and a dimmer one
    for t in range(10):
        strip[:, 8 + 4 * t : 20 + 4 * t, t, 10 + 4 * t : 22 + 4 * t] = 255
    strip[1] = strip[1] * (1 - mse / 400)
    png = base64.b64encode(png_bytes(strip.reshape(128, 640, 3))).decode()
    return {
        "name": name,
        "label": f"constructed for tests, {kind}",
        "kind": kind,
        "rank": rank and list(rank),
        "scores": {
            "mse": {
                "overall": mse,
                "per_lead": list(mse * growth),
                "interval": [0.96 * mse, 1.04 * mse],
            },
            "ssim": {
                "overall": 1 - mse / 400,
                "per_lead": list(1 - mse / 400 * growth),
                "interval": [None, None],
            },
        },
        "parameters": None,
        "multiply_adds": None,
        "forecast": None,
        "training_step": None,
        "trained": None,
        "strip": f"data:image/png;base64,{png}",
        **more,
    }


def trained(name: str, rank: tuple[int, int], mse: float, size: float, seconds: float) -> dict:
    return row(
        name,
        "forecaster",
        rank,
        mse,
        parameters=round(size),
        multiply_adds=900 * size,
        forecast={"seconds": seconds, "memory": 180 + size / 5e4},
        training_step={"seconds": 31 * seconds, "memory": 300 + size / 1e4, "batch_size": 16},
        trained={"clips": 24_000, "minutes": 20.0, "steps": 1500, "budget": {"minutes": 20}},
    )


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    """Twelve rows, not in the order of their ranks: ties, unknown values, long and nasty names."""

    def free(seconds: float) -> dict:
        return {"parameters": 0, "forecast": {"seconds": seconds, "memory": 170.0}}

    rows = [
        row("persistence", "baseline", (11, 11), 252.6, **free(0.0002)),
        trained("simvp_small", (2, 3), 58.4, 3_100_000, 0.022),
        trained("tau_small", (1, 1), 52.5, 3_926_800, 0.031),
        trained(LONG, (5, 6), 71.9, 2e6, 0.12),
        trained("predrnn", (2, 3), 59.1, 23_841_216, 0.44),
        trained("quick", (7, 7), 84.2, 61_000, 0.006),
        row(NASTY, "forecasts", (4, 4), 64.0),
        trained("svg_lp", (5, 6), 73.3, 22_800_000, 0.6),
        row("linear_motion", "baseline", (9, 9), 229.2, **free(0.004)),
        row("optical_flow", "baseline", (10, 10), 241.0, **free(0.2)),
        row("mean", "baseline", (8, 8), 198.6, **free(0.0003)),
        row("cycle", "baseline", None, 0.0, **free(0.001), strip=None),
    ]
    rows[-1]["scores"] = {
        "mse": {"overall": None, "per_lead": [None] * 10, "interval": [None, None]}
    }
    rows[1]["scores"]["mse"]["per_lead"][4] = None
    for k, crps in ((7, 0.0312), (2, 0.0287)):
        errors = list(crps * np.linspace(0.5, 1.5, 10))
        rows[k]["scores"]["crps"] = {"overall": crps, "per_lead": errors, "interval": [None, None]}
    return {
        "foreframe": "0.0.test",
        "date": "2026-11-28",
        "machine": {"processor": "a processor made up for tests", "cores": 2, "device": "cpu"},
        "data": {
            "name": "moving_mnist", "data_args": {"digits": 2}, "split": "test", "units": "",
            "hash": "sha256:" + "0123456789abcdef" * 4,
            "clips": 500, "past": 10, "future": 10, "frame": [64, 64], "channels": 1,
        },
        "scores": [
            {"key": "mse", "name": "MSE", "better": "lower",
             "convention": "openstl: summed over a frame, averaged over frames and clips"},
            {"key": "ssim", "name": "SSIM", "better": "higher",
             "convention": "standard: data range 1, averaged over frames and clips"},
            {"key": "crps", "name": "CRPS", "better": "lower",
             "convention": "fair, a pixel; of forecasters with members"},
        ],
        "ranked_by": "mse",
        "rows": rows,
        "published": [
            {"name": "made up A", "mse": 15.69, "ssim": None, "parameters": 44_656_001,
             "source": "a source made up for tests, 2000 epochs", "convention": "openstl"},
            {"name": "made up B", "mse": 103.3, "ssim": 0.707, "parameters": None,
             "source": "another source made up for tests", "convention": "openstl"},
        ],
    }  # fmt: skip


def test_the_page_holds_the_values_and_nothing_breaks_out(board: dict[str, Any]) -> None:
    page = page_html(board)
    assert page == page_html(json.loads(json.dumps(board)))
    (values,) = re.findall(r'<script id="values" type="application/json">(.*)</script>', page)
    assert json.loads(values) == board
    assert not re.search("[<>&]", values)
    assert page.count("</script>") == 2


def test_the_page_loads_nothing(board: dict[str, Any]) -> None:
    page = page_html(board)
    page = page.replace("http://www.w3.org/2000/svg", "")  # a name, which nothing opens
    assert not re.search(r"https?:|@import|url\(", page)
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]
    assert "default-src 'none'" in page


def test_what_json_does_not_have_is_refused(board: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="JSON"):
        page_html(board | {"rows": [float("nan")]})


PROBE = """
<script>
addEventListener("load", () => {
  const names = () => [...document.querySelectorAll("#table tbody th")]
    .map((name) => name.firstChild.textContent);
  const heads = [...document.querySelectorAll("#table thead th[scope=col]")];
  const seen = { first: names(), title: document.title, wide: innerWidth,
    sideways: document.documentElement.scrollWidth - innerWidth };
  const click = (name) => {
    const head = heads.find((head) => head.textContent === name);
    head.firstChild.click();
    return [...names().slice(0, 3), head.getAttribute("aria-sort")];
  };
  seen.clicked = ["CRPS", "CRPS", "SSIM"].map(click);
  const lines = () => document.querySelectorAll("#lead-chart g").length;
  seen.lines = [lines()];
  document.querySelector("#legend button").click();
  seen.lines.push(lines());
  document.getElementById("baselines").click();
  seen.lines.push(lines());
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


SCROLLS = """
<script>
addEventListener("load", () => {
  const table = document.querySelector(".scroll");
  const seen = [table.querySelectorAll("thead th[scope=col]").length,
    table.scrollWidth - table.clientWidth];
  parent.document.body.textContent = JSON.stringify(seen);
});
</script>
</body>"""


@pytest.mark.slow
def test_a_small_laptop_shows_every_column(board: dict[str, Any], tmp_path: Path) -> None:
    scores = [{**board["scores"][0], "key": key, "name": key.upper()} for key in ("mae", "psnr")]
    rows = [
        {**row, "scores": row["scores"] | dict.fromkeys(("mae", "psnr"), row["scores"]["mse"])}
        for row in board["rows"]
    ]
    wide = {**board, "scores": [*board["scores"], *scores], "rows": rows}
    page = page_html(wide).replace("</body>", SCROLLS)
    columns, beyond = in_a_browser(page, 1351, tmp_path)  # 1366 with a bar to scroll by
    assert columns == 16
    assert beyond <= 0


@pytest.mark.full
def test_a_browser_sorts_and_draws_it(board: dict[str, Any], tmp_path: Path) -> None:
    """On a phone's width: rows in the order of ranks, and as columns are clicked; lines that the
    legend hides; no scrolling sideways, no error.
    """
    seen = in_a_browser(page_html(board).replace("</body>", PROBE), 390, tmp_path)
    assert seen["first"][:5] == ["tau_small", "simvp_small", "predrnn", NASTY, LONG]
    assert seen["first"][-2:] == ["persistence", "cycle"]
    assert seen["clicked"] == [
        ["tau_small", "svg_lp", "simvp_small", "ascending"],  # those without members are last
        ["svg_lp", "tau_small", "simvp_small", "descending"],
        ["tau_small", "simvp_small", "predrnn", "descending"],  # higher is better
    ]
    assert seen["title"] == "moving_mnist leaderboard"
    assert seen["wide"] == 390
    assert seen["sideways"] <= 0
    assert seen["lines"] == [11, 10, 6]  # without cycle, which has no errors; without the first
