"""Films: slices against a plain decoding from the start (PyAV's own loop), and films that are odd,
damaged or none.
"""

import io
import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from conftest import real_data
from foreframe.data import films
from foreframe.data.films import Film, film_stream, read_film
from recorded import LOSSLESS, encode
from refusals import one_line


def pictures(n: int, h: int = 48, w: int = 64, seed: int = 0) -> np.ndarray:
    """A noisy scene (n,h,w,3) that moves to the right."""
    scene = np.random.default_rng(seed).integers(0, 256, (h, w + 2 * n, 3), dtype=np.uint8)
    return np.stack([scene[:, 2 * i : 2 * i + w] for i in range(n)])


def plain(path) -> np.ndarray:
    with av.open(str(path)) as box:
        frames = [frame.to_ndarray(format="rgb24") for frame in box.decode(video=0)]
    return np.stack(frames).transpose(0, 3, 1, 2)


def packets(path) -> list[tuple[int, int]]:
    with av.open(str(path)) as box:
        return [(p.pos, p.size) for p in box.demux(box.streams.video[0]) if p.size]


def check_slices(path, n) -> None:
    clip, whole = read_film(path), plain(path)
    film = clip.frames
    assert (film.shape, clip.notes) == (whole.shape, ())
    assert len(film) == n
    for first in (*np.random.default_rng(0).integers(0, n, 12), *range(6)):
        np.testing.assert_array_equal(film[first : first + 9], whole[first : first + 9])


@pytest.mark.parametrize(
    ("name", "n"), [("tree.avi", 68), ("carphone_pristine.mp4", 120), ("nasa_13013.mp4", 325)]
)
def test_slices_of_real_films(name, n) -> None:
    check_slices(real_data(f"video/{name}"), n)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("long.mp4", "libx264", {"g": "250"}),
        ("open.mkv", "libx264", {"x264-params": "open-gop=1"}),
        ("made_up_times.avi", "libx264", {}),
        ("raw.h264", "libx264", {}),
        ("late.ts", "mpeg2video", {}),
    ],
)
def test_slices_with_frames_out_of_order(tmp_path, name, codec, options) -> None:
    options = {"g": "12", "bf": "2"} | options
    check_slices(encode(tmp_path / name, pictures(60), codec, "yuv420p", options), 60)


def test_lossless_film_odd_size_odd_path_and_times(tmp_path) -> None:
    made = pictures(12, 33, 47)
    stamps = [0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 24, 30]
    clip = read_film(encode(tmp_path / "фильм é 1.mkv", made, **LOSSLESS, stamps=stamps))
    made = made.transpose(0, 3, 1, 2)
    assert isinstance(clip.frames, Film)
    assert (clip.frames.shape, clip.frames.dtype) == (made.shape, np.uint8)
    np.testing.assert_array_equal(clip.frames[:], made)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clip.frames))[3:5], made[3:5])
    np.testing.assert_allclose(clip.times, np.array(stamps) / 25, atol=1e-3)
    assert clip.frames[5:5].shape == (0, 3, 33, 47)


def test_frames_are_turned_upright(tmp_path) -> None:
    path = encode(tmp_path / "a.mp4", pictures(4), "mpeg4", "yuv420p")
    level = read_film(path).frames[:]
    raw = bytearray(path.read_bytes())
    at = raw.find(b"tkhd") + 4 + 40  # the track header's matrix
    # A telephone held upright: 90 degrees clockwise.
    matrix = np.array([0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30], ">i4")
    raw[at : at + 36] = matrix.tobytes()
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_film(path).frames[:], np.rot90(level, -1, (2, 3)))


@pytest.mark.parametrize(("k", "stand_in"), [(4, 3), (0, 1), (7, 6)])
def test_a_broken_frame_is_filled(tmp_path, k, stand_in) -> None:
    made = pictures(8).transpose(0, 3, 1, 2)
    path = encode(tmp_path / "a.mkv", pictures(8), **LOSSLESS)
    pos, size = packets(path)[k]
    with path.open("r+b") as file:
        file.seek(pos + 8)
        file.write(b"\xff" * (size - 8))
    film = read_film(path).frames
    with pytest.warns(
        UserWarning, match=f"frame {k} cannot be decoded; the frame before replaces it"
    ) as told:
        whole = [film[k : k + 1][0], *film[:]]
    assert len(told) == 1
    assert film.broken == {k}
    made[k] = made[stand_in]
    np.testing.assert_array_equal(whole, [made[k], *made])
    strict = read_film(path, strict=True).frames
    with pytest.raises(ValueError, match=f"frame {k} cannot be decoded"):
        strict[:]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert len(list(film_stream(io.BytesIO(path.read_bytes())))) == 7
    assert len(told) == 1


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.mp4"])
def test_a_film_cut_short(tmp_path, name) -> None:
    kind = {"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"g": "5"}}
    path = encode(tmp_path / name, pictures(40), **(LOSSLESS if name == "a.mkv" else kind))
    whole = read_film(path)
    assert whole.notes == ()
    before = whole.frames[:]
    pos, size = packets(path)[24]
    path.write_bytes(path.read_bytes()[: pos + size // 2])
    clip = read_film(path)
    assert len(clip) == 24
    assert "cut short" in clip.notes[0]
    np.testing.assert_array_equal(clip.frames[:], before[:24])
    with pytest.raises(ValueError, match="cut short"):
        read_film(path, strict=True)


def test_what_is_no_film(tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("no film\n" * 50)
    (tmp_path / "empty.mp4").touch()
    with av.open(str(tmp_path / "sound.mp4"), "w") as box:
        out = box.add_stream("aac", rate=8000)
        silence = np.zeros((1, 8000), np.float32)
        sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        sound.rate = 8000
        box.mux([*out.encode(sound), *out.encode()])
    words = dict.fromkeys(("text", "empty", "none"), "is not a readable film .*; give a whole")
    for name, said in (words | {"sound": "no decodable video"}).items():
        with one_line(rf"{name}\.mp4 .*{said}"):
            read_film(tmp_path / f"{name}.mp4")


def test_a_stream_that_cannot_seek(tmp_path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    made = pictures(6)
    path = encode(tmp_path / "a.mkv", made, **LOSSLESS)
    found = np.stack([frame for frame, _ in film_stream(Pipe(path.read_bytes()))])
    np.testing.assert_array_equal(found, made.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="as a stream mkv"):
        next(film_stream(Pipe(b"no film" * 100)))


def test_memory_and_open_files_are_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(films, "CACHED_BYTES", 5 * 48 * 64 * 3)
    path = encode(tmp_path / "a.mkv", pictures(30), **LOSSLESS)
    opened = [read_film(path).frames for _ in range(3)] * 2
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda film: film[2:22], opened):
            np.testing.assert_array_equal(found, pictures(30)[2:22].transpose(0, 3, 1, 2))
    assert all(len(run.latest) <= 5 for run in films._open.values())
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux tells in a folder which files are open")

    def handles() -> int:
        return [link.readlink() for link in folder.iterdir() if link.is_symlink()].count(path)

    assert handles() <= 2
    for film in opened:
        film[20:30]
    assert handles() == 0  # the films were read to their ends


def read_two(film: Film) -> list[np.ndarray]:
    return [film[2:9], film[0:3]]


def test_threads_and_processes_read_one_film_at_once(tmp_path) -> None:
    path = encode(tmp_path / "a.mp4", pictures(60), "libx264", "yuv420p", {"g": "12", "bf": "3"})
    film, whole = read_film(path).frames, plain(path)
    film[5:6]  # this thread's decoder stands somewhere
    firsts = [7 * k % 50 for k in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: film[k : k + 5], firsts))
    np.testing.assert_array_equal(found, [whole[k : k + 5] for k in firsts])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for got, right in zip(pool.apply(read_two, (film,)), read_two(whole), strict=True):
            np.testing.assert_array_equal(got, right)
    np.testing.assert_array_equal(film[6:9], whole[6:9])


def test_a_film_that_is_gone_is_said_each_time(tmp_path) -> None:
    film = read_film(encode(tmp_path / "a.mp4", pictures(30), "mpeg4", "yuv420p")).frames
    film[3:5]
    (tmp_path / "a.mp4").unlink()
    film[5:7]  # which is open
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.mp4 .*No such file"):
            film[1:2]


# -- budgets


def test_a_film_that_claims_large_pictures(tmp_path) -> None:
    header = b"YUV4MPEG2 W16000 H15000 F25:1 Ip A1:1 C420jpeg\nFRAME\n"
    (tmp_path / "a.y4m").write_bytes(header + bytes(1000))
    with pytest.raises(ValueError, match=r"of 15000x16000 pixels, would take .* budget of 1 GiB"):
        read_film(tmp_path / "a.y4m")


def test_pictures_larger_than_the_first_are_not_decoded(tmp_path) -> None:
    """A stream of JPEGs may hold one of any size behind a small first one."""
    stream = io.BytesIO()
    for k, side in enumerate((32, 32, 32, 1024, 32, 32)):
        Image.new("RGB", (side, side), (40 * k, 0, 0)).save(stream, "jpeg")
    (tmp_path / "a.mjpeg").write_bytes(stream.getvalue())
    assert read_film(tmp_path / "a.mjpeg").frames[:].shape == (6, 3, 32, 32)
    film = read_film(tmp_path / "a.mjpeg", budget=16 * 512 * 512 / 2**30).frames
    with pytest.warns(UserWarning, match="frame 3 cannot be decoded"):
        pictures = film[:]
    assert film.broken == {3}
    np.testing.assert_array_equal(pictures[3], pictures[2])
