"""The exported page forecasts in a real browser what Python forecasts."""

import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import npy

from foreframe import Forecaster, MovingMNIST, Scaling, Window
from foreframe.addons.serve import web_runtime
from foreframe.addons.serve.exported_page import _noise
from foreframe.models.names import published
from recorded import animation, encode
from refusals import refused
from small import built

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

FORECAST = """async ([values, shape, options]) => {
    const backend = await import("./backend.js");
    const [model] = await backend.models();
    const frames = { data: Float32Array.from(values), shape };
    const began = performance.now();
    const { future, shape: made } = await backend.forecast(frames, options);
    const seconds = (performance.now() - began) / 1000;
    return { values: [...future], shape: made, about: backend.about(), model: model.name, seconds };
}"""
FILE = """async ([bytes, name, options]) => {
    const backend = await import("./backend.js");
    await backend.models();
    const file = new File([Uint8Array.from(bytes)], name);
    try {
        const found = await backend.forecastFile(file, options);
        const known = found.truth && [...found.truth.data].map((value) => value === value);
        const shapes = [found.past.shape, found.future.shape];
        return { last: found.last, shapes, known, past: [...found.past.data], notes: found.notes };
    } catch (error) {
        return error.message;
    }
}"""
READ = """async ([bytes, name, about]) => {
    const { framesOf } = await import("./files.js");
    const file = new File([Uint8Array.from(bytes)], name);
    try {
        const { data, shape } = await framesOf(file, about);
        return { values: [...data], shape };
    } catch (error) {
        return error.message;
    }
}"""
BUSY = """() => {
    const spin = "const end = Date.now() + 3e4; while (Date.now() < end);";
    const busy = URL.createObjectURL(new Blob([spin]));
    window.busy = Array.from({ length: 4 }, () => new Worker(busy));
}"""
NOISE = """async (structure) => {
    const { noiseOf } = await import("./noise.js");
    const of = { seed: 7, structure };
    const draw = (member, lead) => [...noiseOf([2, 3, 40, 60], of, member, lead)];
    return [draw(0, 0), draw(0, 1), draw(1, 0), draw(0, 0)];
}"""


class Host(SimpleHTTPRequestHandler):
    """A static host, without the headers that threads need."""

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextmanager
def opened(address: str, threads: bool = True) -> Iterator[Any]:
    """A page in Chromium, which must say nothing on its console and ask nobody else.

    Args:
        threads: whether it may have a service worker, which adds the headers that threads need.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page(service_workers="allow" if threads else "block")
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        yield page
        browser.close()
    assert not [words for words in said if "blocked by Playwright" not in words]
    assert all(url.startswith((address.partition("#")[0], "blob:")) for url in asked)


def exported(folder: Path, *words: str) -> dict[str, float]:
    """In a process of its own: what checks types here cannot look at a size without a value."""
    pytest.importorskip("onnxruntime")
    if not web_runtime.cached_runtime().is_dir():
        pytest.skip("needs ONNX Runtime for browsers, which the Makefile fetches by npm")
    command = [sys.executable, "-m", "foreframe", "export", *words, "--format", "page"]
    done = subprocess.run(
        [*command, "-o", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "model" / "parity.json").read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Forecaster]:
    folder = tmp_path_factory.mktemp("page")
    forecaster = Forecaster(built("tutorial").eval(), Window(3, 4), Scaling(0.0, 255.0))
    forecaster.save(folder / "saved")
    parity = exported(folder / "site", str(folder / "saved"))
    assert max(parity.values()) < 1e-5
    assert parity["chain"] > 0
    return folder / "site", Forecaster.load(folder / "saved")


@needs_browser
@pytest.mark.slow
def test_the_page_forecasts_what_python_forecasts(site: tuple[Path, Forecaster]) -> None:
    from test_page import serious

    folder, forecaster = site
    clip = 255 * np.random.default_rng(0).random((5, 1, 24, 20), dtype=np.float32)
    clip[1, 0, 3:5], clip[:, 0, 7, 7] = np.nan, np.nan
    with hosted(folder) as address, opened(address) as page:
        page.wait_for_function("crossOriginIsolated")  # by isolate.js, and one new start
        asked = [clip.ravel().tolist(), clip.shape, {"steps": 6}]
        asked[0] = [None if np.isnan(value) else value for value in asked[0]]
        found = page.evaluate(FORECAST.replace("from(values", "from(values, v => v ?? NaN"), asked)
        threads = min(4, page.evaluate("navigator.hardwareConcurrency"))
        assert found["about"] == f"in this browser, {threads} thread" + "s" * (threads > 1)
        assert found["model"] == "saved"
        values = np.array([np.nan if v is None else v for v in found["values"]], np.float32)
        expected = forecaster.predict(clip, 6)
        assert np.isnan(expected[:, 0, 7, 7]).all()
        np.testing.assert_allclose(values.reshape(found["shape"]), expected, atol=255e-4)
        check_files(page)
        check_films(page)
        check_noise(page)
        page.locator("#answered", has_text="answered in").wait_for()
        assert serious(page) == []
        page.click("#example")
        page.locator("#file-words", has_text="example").wait_for()
        page.locator("#answer").wait_for()
        assert serious(page) == []
    with hosted(folder) as address, opened(address, threads=False) as page:
        page.locator("#answered", has_text="answered in").wait_for()


def sent(page: Any, content: bytes, name: str, **options: Any) -> Any:
    return page.evaluate(FILE, [list(content), name, options])


def check_films(page: Any) -> None:
    """Every frame of a film or GIF in its turn, on a busy machine, too, which shows frames late."""

    def check(name: str, greys: Sequence[int], rate: int = 25) -> None:
        frames = np.full((48, 64, len(greys)), greys, np.uint8).transpose(2, 0, 1)
        any_film = {"channels": 1, "model": {"low": 0, "high": 255}}
        found = page.evaluate(READ, [list(recorded(frames, name, rate)), name, any_film])
        values = np.array(found["values"]).reshape(found["shape"])
        np.testing.assert_allclose(values, frames[:, None], atol=2)

    few = range(20, 140, 20)
    for name in ("clip.gif", "clip.mp4"):
        film = recorded(np.full((48, 64, 6), few, np.uint8).transpose(2, 0, 1), name)
        found = sent(page, film, name, steps=1)
        assert found["shapes"] == [[3, 1, 48, 64], [1, 1, 48, 64]]
        np.testing.assert_allclose(found["past"], np.repeat(few[3:], 48 * 64), atol=2)
    check("clip.gif", few)
    check("clip.mp4", [50])
    check("clip.mp4", [50, 90])
    check("clip.webm", range(20, 220, 5), rate=60)  # whose times are whole milliseconds
    page.evaluate(BUSY)
    for _ in range(8):
        check("clip.mp4", few)
    page.evaluate("busy.forEach((worker) => worker.terminate())")
    digits = {"channels": 1, "model": {"low": 0, "high": 1, "digits": True, "size": [64, 64]}}
    told = page.evaluate(READ, [list(film), "clip.mp4", digits])
    assert told == "clip.mp4 has frames of 64x48, but this model knows only digits that move."
    large = recorded(np.zeros((1, 60, 512), np.uint8), "large.gif")
    assert sent(page, large, "large.gif", steps=1)["shapes"][0] == [1, 1, 30, 256]


def check_files(page: Any) -> None:
    """A recording's past, forecast and truth; what cannot be read is told."""

    def given(frames: np.ndarray, name: str = "clip.npy", **options: Any) -> Any:
        return sent(page, npy(frames), name, **options)

    frames = np.arange(6, dtype=np.float64)[:, None, None].repeat(8, 1).repeat(12, 2) / 4
    found = given(frames, after=3, steps=4)
    assert found["last"] == 3
    assert found["shapes"] == [[3, 1, 8, 12], [4, 1, 8, 12]]
    assert np.reshape(found["past"], (3, -1))[:, 0].tolist() == [0.25, 0.5, 0.75]
    assert np.reshape(found["known"], (4, -1)).all(1).tolist() == [True, True, False, False]
    assert given(frames, steps=1)["known"] is None
    assert given(frames, "clip.gif") == "clip.gif is no GIF that this browser reads."
    assert "values from 0 to 255" in given(frames * 1000)
    assert "3 channels" in given(np.zeros((4, 3, 8, 8)))
    assert "no frames" in given(np.zeros(3))
    assert "has 6 frames" in given(frames, after=6)


def recorded(frames: np.ndarray, name: str, rate: int = 25) -> bytes:
    """A GIF or a film of grey pictures."""
    buffer, kind = io.BytesIO(), name.rpartition(".")[2]
    if kind == "gif":
        animation(buffer, frames, format="GIF", duration=80)
    else:
        codec = {"mp4": "libx264", "webm": "libvpx"}[kind]
        encode(buffer, frames, codec, rate=rate, format=kind)
    return buffer.getvalue()


def check_noise(page: Any) -> None:
    """Of deviation 1, the same at all lead times; members differ, and so do distances."""
    of = {"whole": 1, "apart": [4, 16]}
    first, later, other, again = np.reshape(page.evaluate(NOISE, of), (4, 2, 3, 40, 60))
    assert (first == again).all()
    assert (first == later).all()
    assert (first[0] == first[1]).all()
    assert np.ptp(first[0, 0]) == 0
    fine, coarse = first[0, 1:]
    assert abs(np.corrcoef(fine.ravel(), other[0, 1].ravel())[0, 1]) < 0.3
    near, far = (np.corrcoef(x[:, 4:].ravel(), x[:, :-4].ravel())[0, 1] for x in (coarse, fine))
    assert near > 0.7 > far
    assert np.corrcoef(fine[:, 1:].ravel(), fine[:, :-1].ravel())[0, 1] > 0.7
    for noise in (page.evaluate(NOISE, None), [fine, other[0, 1]]):
        assert abs(np.mean(noise)) < 0.15
        assert 0.85 < np.std(noise) < 1.15


@needs_browser
@pytest.mark.full
@pytest.mark.timeout(900)  # the graphs of `scenes` are of some 16,000 nodes
@pytest.mark.parametrize(
    ("name", "count", "apart"), [("moving-mnist", 16, 0.6), ("scenes", 4, 0.8)]
)
def test_the_page_of_published_weights_draws_members(
    name: str, count: int, apart: float, tmp_path: Path
) -> None:
    """The members depend on few random numbers, so their spread varies by chance."""
    if name not in published():
        pytest.skip("its add-on is deleted")
    exported(tmp_path / "site", name)
    forecaster = Forecaster.load(name)
    clip = MovingMNIST("test")[3][:10].numpy()
    with hosted(tmp_path / "site") as address, opened(address, threads=False) as page:
        asked = [clip.ravel().tolist(), clip.shape]
        found = page.evaluate(FORECAST, [*asked, {"steps": 12}])
        assert found["about"] == "in this browser, 1 thread"
        values = np.array(found["values"], np.float32).reshape(found["shape"])
        np.testing.assert_allclose(values, forecaster.predict(clip, 12), atol=1e-4)
        found = page.evaluate(FORECAST, [*asked, {"steps": 12, "members": count, "seed": 3}])
    members = np.array(found["values"], np.float32).reshape(found["shape"])
    assert members.shape == (count, 12, 1, 64, 64)
    expected = forecaster.predict(clip, 12, members=count)
    assert np.std(members, 0).mean() == pytest.approx(np.std(expected, 0).mean(), rel=apart)


def test_the_structure_of_noise() -> None:
    assert _noise(built("perturbed")) == {"whole": 0, "apart": [4, 8, 16, 32, 64]}
    assert _noise(built("quick")) is None


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("quick", ["--steps", "2"], "requires the format onnx"),
        ("quick", ["--noise", "true"], "draws no members"),
        ("nowcast", [], "OpenCV's optical flow, which browsers lack"),
        ("own_frames_with_an_input", [], "takes additional inputs"),
        ("quick", [], "npm"),
    ],
)
def test_what_has_no_page_is_told(
    name: str, words: list[str], told: str, capsys, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: None)
    Forecaster(built(name).eval(), Window(2, 4)).save("saved")
    assert told in refused(capsys, "export", "saved", "-o", "out", "--format", "page", *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo no such package >&2; exit 1",
            r"npm cannot fetch onnxruntime-web@.*: no such",
        ),
        ("echo other > x.tgz", "npm fetched another onnxruntime-web@"),
    ],
)
def test_what_npm_fetches_is_checked(script: str, told: str, tmp_path, monkeypatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setattr(web_runtime.shutil, "which", lambda name: str(npm))
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=told):
        web_runtime.web_runtime()
    assert not (tmp_path / "cache").exists()
