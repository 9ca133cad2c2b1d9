"""Films, read back by PyAV and played by Chromium; whole folders or none; shared palettes."""

import base64
import io
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from foreframe.visuals import Paint, animation, gif_bytes, write_frames, write_mp4
from foreframe.visuals.colours import ORANGE

CHROMIUM = "/usr/bin/chromium"


def grey_film(n: int = 20, h: int = 63, w: int = 97) -> np.ndarray:
    """A bright bar that walks, of odd size."""
    film = np.full((n, h, w, 3), 40, np.uint8)
    for t in range(n):
        film[t, :, 4 * t : 4 * t + 8] = 220
    return film


def rain_film(n: int = 10) -> np.ndarray:
    ramp = np.geomspace(0.05, 120, 64, dtype=np.float32)[None, None, None].repeat(40, 2)
    past = np.concatenate([np.roll(ramp, t, -1) for t in range(n)])
    past[:, :, :6] = np.nan
    return animation(
        past,
        past,
        paint=Paint("radar", units="mm/h"),
        times=[f"{5 * t:+d} min" for t in range(1 - n, n + 1)],
    )


@pytest.mark.parametrize("size", [(1, 1), (63, 97), (64, 96), (17, 300)])
def test_mp4_is_read_back(tmp_path, size) -> None:
    h, w = size
    frames = grey_film(5, h, w)
    write_mp4(tmp_path / "a.mp4", iter(frames), fps=12.5)
    with av.open(str(tmp_path / "a.mp4"), "r") as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == 5
    assert shown[0].shape == (h + h % 2, w + w % 2, 3)
    assert np.abs(np.stack(shown)[:, :h, :w].astype(int) - frames).mean() < 6
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_padding_repeats_the_edge(tmp_path) -> None:
    write_mp4(tmp_path / "a.mp4", np.full((3, 31, 33, 3), 200, np.uint8))
    with av.open(str(tmp_path / "a.mp4"), "r") as film:
        last = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)][-1]
    assert np.abs(last.astype(int) - 200).max() <= 2


def test_mp4_is_written_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, grey_film(3))
    before = path.read_bytes()

    def cut_off():
        yield grey_film(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mp4(path, cut_off())
    with pytest.raises(ValueError, match="97x63 is followed by 10x10"):
        write_mp4(path, [grey_film(1)[0], np.zeros((10, 10, 3), np.uint8)])
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(path, [])
    with pytest.raises(ValueError, match="fps"):
        write_mp4(path, grey_film(3), fps=0)
    opened = av.open

    def full(*arguments, **options):
        opened(*arguments, **options).close()
        raise av.OSError(28, "No space left on device")

    monkeypatch.setattr("av.open", full)
    with pytest.raises(ValueError, match=r"cannot write .*a.mp4: No space left on device$"):
        write_mp4(path, grey_film(3))
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    monkeypatch.undo()

    def closed(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", closed)
    with pytest.raises(ValueError, match=r"cannot make the folder .*: Permission denied$"):
        write_mp4(tmp_path / "new" / "a.mp4", grey_film(3))
    with pytest.raises(ValueError, match=r"cannot write .*new: Permission denied$"):
        write_frames(tmp_path / "new", grey_film(3))


def test_frames_fill_a_folder_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "deep" / "frames"
    film = grey_film(12)
    write_frames(folder, iter(film))
    names = sorted(path.name for path in folder.iterdir())
    assert (names[0], names[-1], len(names)) == ("frame-0001.png", "frame-0012.png", 12)
    assert (np.asarray(Image.open(folder / "frame-0003.png")) == film[2]).all()
    with pytest.raises(ValueError, match="not empty"):
        write_frames(folder, film)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="name a new folder"):
        write_frames(tmp_path / "file", film)
    with pytest.raises(ValueError, match="no frames"):
        write_frames(tmp_path / "none", [])
    (tmp_path / "empty").mkdir()
    write_frames(tmp_path / "empty", film[:1])
    save, saved = Image.Image.save, []

    def full(self, *arguments, **options):
        saved.append(1)
        if len(saved) > 2:
            raise OSError(28, "No space left on device")
        save(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ValueError, match=r"cannot write .*late: No space left on device$"):
        write_frames(tmp_path / "late", film)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "file"]


def frames_of(gif: bytes) -> np.ndarray:
    return np.stack(
        [
            np.asarray(picture.convert("RGB"))
            for picture in ImageSequence.Iterator(Image.open(io.BytesIO(gif)))
        ]
    )


def test_gif_of_a_palette_is_near() -> None:
    film = rain_film()
    assert np.abs(frames_of(gif_bytes(film)).astype(int) - film).max() <= 8
    field = (
        np.linspace(270, 290, 64 * 48, dtype=np.float32).reshape(1, 1, 48, 64)
        + np.arange(4)[:, None, None, None]
    )
    film = animation(
        field, field, field, paint=Paint("temperature", 268, 292, "K"), times=list("abcdefgh")
    )
    assert np.abs(frames_of(gif_bytes(film)).astype(int) - film).max() <= 8


def test_gif_of_all_greys_with_letters_is_near() -> None:
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None, None, None].repeat(32, 2)
    film = animation(ramp, ramp, times=["today", "tomorrow"])
    back = frames_of(gif_bytes(film))
    off = np.abs(back.astype(int) - film)
    assert np.quantile(off, 0.99) <= 8
    assert off[1][(film[1] == ORANGE).all(axis=-1)].max() <= 8


def test_colours_of_photographs_do_not_flicker() -> None:
    rng = np.random.default_rng(0)
    still = rng.random((1, 3, 48, 48), dtype=np.float32).repeat(3, axis=0)
    # The last rows change, and bring other colours.
    still[:, :, 40:] = rng.random((3, 3, 8, 48), dtype=np.float32)
    film = animation(still, still)
    back = frames_of(gif_bytes(film))
    assert (back[:, 4:160] == back[0, 4:160]).all(axis=-1)[:3].all()
    assert tuple(back[4, 0, 0]) == ORANGE
    # No colours of our own.
    assert frames_of(gif_bytes(film[:, 8:40, 8:40])).shape[1:] == (32, 32, 3)


PAGE = """<!doctype html><video id=v muted autoplay playsinline></video><script>
const v = document.getElementById("v");
const say = (what) => fetch("/said?" + new URLSearchParams(what));
v.onerror = () => say({error: v.error.message});
v.ontimeupdate = () => { if (v.currentTime > 0.3) {
  const c = document.createElement("canvas"); c.width = v.videoWidth; c.height = v.videoHeight;
  const g = c.getContext("2d"); g.drawImage(v, 0, 0); v.pause();
  const pixel = [...g.getImageData(1, c.height - 4, 1, 1).data];
  say({time: v.currentTime, size: v.videoWidth + "x" + v.videoHeight, pixel});
} };
v.src = "data:video/mp4;base64,FILM";
</script>"""


@pytest.mark.parametrize("kind", ["grey", "rain"])
def test_chromium_plays_the_film(tmp_path, kind) -> None:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs {CHROMIUM} (apt-get install chromium)")
    film = grey_film() if kind == "grey" else rain_film()[10:]
    write_mp4(tmp_path / "film.mp4", film)
    page = PAGE.replace(
        "FILM", base64.b64encode((tmp_path / "film.mp4").read_bytes()).decode()
    ).encode()
    report: dict[str, list[str]] = {}
    heard = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/said"):
                report.update(parse_qs(urlsplit(self.path).query))
                heard.set()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page if self.path == "/" else b"")

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    quiet = [
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
    ]
    profile = tmp_path / "profile"
    address = f"http://127.0.0.1:{server.server_port}/"
    browser = subprocess.Popen(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            *quiet,
            "--disable-sync",
            f"--user-data-dir={profile}",
            address,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert heard.wait(40), "Chromium said nothing in 40 seconds"
    finally:
        browser.terminate()
        browser.wait(10)
        server.shutdown()
        server.server_close()
        shutil.rmtree(profile, ignore_errors=True)
    assert "error" not in report, report["error"]
    assert float(report["time"][0]) > 0.3
    h, w = film.shape[1:3]
    assert report["size"] == [f"{w + w % 2}x{h + h % 2}"]
    expected = film[3, h - 4, 1]
    assert (
        np.abs(np.array([int(v) for v in report["pixel"][0].split(",")[:3]]) - expected).max() <= 25
    ), report
