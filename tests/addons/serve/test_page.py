"""The page, driven in a real browser: Debian's Chromium, by Playwright."""

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from served import Server, wait_for

sync = pytest.importorskip("playwright.sync_api", reason="comes with foreframe[test]")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="comes with foreframe[test]"
)
CHROMIUM = shutil.which("chromium") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt install chromium"),
]
# Number of lit pixels of a canvas; with `amber` only those of a forecast.
LIT = """([id, amber]) => {
  const canvas = document.getElementById(id);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const lit = (v, i) => i % 4 === 0 && v > 40 && (!amber || v > data[i + 2] + 40);
  return data.filter(lit).length;
}"""

# The page counts seconds by a timer, and skips one when the machine is busy.
SECONDS_LATER = "#status:is([data-seconds='2'], [data-seconds='3'], [data-seconds='4'])"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service of the weights `scenes`."""
    server = Server(tmp_path_factory.mktemp("served"), "scenes")
    yield server.address + "/"
    server.ended_by(signal.SIGTERM)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)


@contextmanager
def page_of(browser: Any, server: str, **context: Any) -> Iterator[Any]:
    """A page that must cause no errors and load nothing from other addresses."""
    wrong: list[str] = []
    with browser.new_context(**context) as own:
        page = own.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None if asked.url.startswith((server, "blob:")) else wrong.append(asked.url)
            ),
        )
        yield page
    # A refused upload is an error of the browser, which the page shows as a sentence.
    assert [words for words in wrong if "Failed to load resource" not in words] == []


def serious(page: Any) -> list[str]:
    """Serious faults of accessibility, by axe-core."""
    found = axe.Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {node['html']}" for each in grave for node in each["nodes"]]


def test_digits_are_thrown_and_pushed(server: str, browser: Any) -> None:
    with page_of(browser, server, viewport={"width": 1280, "height": 800}) as page:
        page.goto(server + "#seed=5&members=4")
        page.locator("#answered", has_text="answered in").wait_for()
        wait_for(lambda: page.evaluate(LIT, ["future", True]) > 100)
        assert page.evaluate(LIT, ["truth", False]) > 100
        assert serious(page) == []

        page.click("#play")  # time stands still
        page.wait_for_url("**paused=1**")
        box = page.locator("#now").bounding_box()
        corners = [float(v) for v in re.search(r"digits=\d_([\d.]+)_([\d.]+)", page.url).groups()]  # type: ignore
        x, y = (box[k] + (v + 14) / 64 * box["width"] for k, v in zip("xy", corners, strict=True))
        hand = page.context.new_cdp_session(page)  # which says when it moves, however busy we are
        began = time.time()
        for step, kind in enumerate(["Pressed", "Moved", "Moved", "Moved", "Released"]):
            place = {"x": x, "y": y + 3 * min(step, 3), "timestamp": began + 0.03 * step}
            button = {"button": "left", "buttons": 1, "clickCount": 1}
            hand.send("Input.dispatchMouseEvent", {"type": f"mouse{kind}", **place, **button})
        page.wait_for_url(re.compile(r"digits=\d_[\d.]+_[\d.]+_0_[1-9]"))  # straight down

        page.focus("#hand")
        page.keyboard.press("ArrowUp")
        # Members, in amber. Digits that time stopped on top of each other show few of them.
        wait_for(lambda: page.evaluate(LIT, ["now", True]) > 20)
        link = page.url

    with page_of(
        browser, server, viewport={"width": 390, "height": 844}, color_scheme="dark"
    ) as page:
        page.goto(link)
        page.locator("#answered", has_text="answered in").wait_for()
        assert page.inner_text("#play") == "Play"
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert serious(page) == []
        page.click("#next")
        page.click("#play")
        page.click("#play")
        page.wait_for_timeout(300)
        assert page.url != link  # it moved

    with page_of(browser, server, reduced_motion="reduce") as page:
        page.route("**/v1/**", wants_a_token)
        page.on("dialog", lambda dialog: dialog.accept("secret"))
        page.goto(server)
        page.locator("#answered", has_text="answered in").wait_for()
        assert page.inner_text("#play") == "Play"
        assert "less motion" in page.inner_text("#now-words")


def test_what_takes_long_is_said_with_its_seconds(server: str, browser: Any) -> None:
    with page_of(browser, server) as page:
        waiting: list[Any] = []
        page.route("**/v1/*", lambda route: waiting.append(route))
        page.goto(server)
        for words in ("Loading the model …", "Forecasting digits …"):
            page.locator(SECONDS_LATER, has_text=words).wait_for()
            while waiting:
                waiting.pop().continue_()
        page.locator("#answered", has_text="answered in").wait_for()
        page.locator("#status").wait_for(state="hidden")


def assert_no_truth_is_shown(page: Any) -> None:
    for name in ("truth", "error", "by-lead"):
        page.locator(f"#{name}").wait_for(state="hidden")
    assert "error" not in page.inner_text("#scales")


def wants_a_token(route: Any) -> None:
    if route.request.headers.get("authorization") == "Bearer secret":
        route.continue_()
    else:
        route.fulfill(status=401)


def test_no_score_is_of_another_scene(server: str, browser: Any, tmp_path: Path) -> None:
    from foreframe import MovingMNIST

    first, second = (MovingMNIST("test")[k].numpy() for k in (3, 4))
    frames = (255 * np.concatenate([first, 1 - second])).astype(np.uint8)[:, 0]
    film = [Image.fromarray(frame) for frame in frames]
    film[0].save(tmp_path / "cut.gif", save_all=True, append_images=film[1:])
    with page_of(browser, server) as page:
        page.goto(server + "#steps=10")
        page.set_input_files("#file", tmp_path / "cut.gif")
        page.locator("#chart-words", has_text="that of the last frame").wait_for()
        page.fill("#after", str(len(first) - 4))
        page.locator("#notes", has_text=f"another scene begins at frame {len(first)}").wait_for()
        page.fill("#time", "3")
        assert page.inner_text("#error-words").startswith("RMSE")
        page.fill("#time", "4")
        assert page.inner_text("#truth-words") == "not known"
        assert page.inner_text("#error-words") == ""
        page.fill("#after", str(len(first) - 1))
        assert_no_truth_is_shown(page)


def test_a_recording_is_forecast_beside_what_came(
    server: str, browser: Any, tmp_path: Path
) -> None:
    from foreframe import MovingMNIST

    np.save(tmp_path / "own.npy", MovingMNIST("test")[3].numpy())
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with page_of(browser, server, viewport={"width": 1280, "height": 800}) as page:
        page.goto(server + "#example=1&steps=10")
        page.locator("#chart-words", has_text="below that of the last frame").wait_for()
        assert page.inner_text("#after-words") == "19 of 29"
        page.fill("#members", "4")
        page.locator("#view-label").wait_for()
        page.select_option("#view", "spread")
        page.fill("#time", "3")
        assert page.inner_text("#future-words") == "spread +3"
        assert re.fullmatch(r"RMSE 0\.\d+", page.inner_text("#error-words").strip())
        assert page.evaluate(LIT, ["future", False]) > 10
        assert serious(page) == []

        page.set_input_files("#file", tmp_path / "broken.npy")
        page.locator("#status.wrong", has_text="broken.npy").wait_for()
        page.set_input_files("#file", tmp_path / "own.npy")
        page.locator("#file-words", has_text="own.npy").wait_for()
        page.locator("#answer").wait_for()
        page.fill("#after", "19")
        assert_no_truth_is_shown(page)
        with page.expect_download() as saved:
            page.click("text=.npy >> nth=-1")
        assert saved.value.suggested_filename == "own-forecast.npy"
        assert np.load(saved.value.path()).shape[-4:] == (10, 1, 64, 64)
        page.wait_for_url("**members=4**view=spread**")
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == 390
