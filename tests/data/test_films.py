"""Films: slices against a plain decoding from the start (PyAV's own loop), and films that are odd,
damaged or none.
"""

import io
import itertools
import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import real_data
from foreframe.data import decoders
from foreframe.data.films import Film, film_stream, read_film

FILMS = {"vtest.avi": 795, "tree.avi": 68, "carphone_pristine.mp4": 120, "nasa_13013.mp4": 325}
LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0", "options": {"g": "1"}}


def pictures(n: int, h: int = 48, w: int = 64, seed: int = 0) -> np.ndarray:
    """A noisy scene (n,h,w,3) that moves to the right."""
    scene = np.random.default_rng(seed).integers(0, 256, (h, w + 2 * n, 3), dtype=np.uint8)
    return np.stack([scene[:, 2 * i : 2 * i + w] for i in range(n)])


def encode(path, frames, codec="ffv1", pix_fmt="bgr0", options=None, stamps=None):
    fmt = "gray" if frames.ndim == 3 else "rgb24"
    with av.open(str(path), "w") as box:
        out = box.add_stream(codec, rate=25, options=options or {})
        out.height, out.width, out.pix_fmt = *frames.shape[1:3], pix_fmt
        for i, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format=fmt)
            frame.pts = i if stamps is None else stamps[i]
            box.mux(out.encode(frame))
        box.mux(out.encode())
    return path


def plain(path) -> np.ndarray:
    with av.open(str(path)) as box:
        stream = box.streams.video[0]
        return np.stack(
            [f.to_ndarray(format="rgb24").transpose(2, 0, 1) for f in box.decode(stream)]
        )


def packets(path) -> list[tuple[int, int]]:
    with av.open(str(path)) as box:
        return [(p.pos, p.size) for p in box.demux(box.streams.video[0]) if p.size]


def spoil(path, k) -> None:
    pos, size = packets(path)[k]
    raw = bytearray(path.read_bytes())
    raw[pos + 8 : pos + size] = b"\xff" * (size - 8)
    path.write_bytes(raw)


def check_slices(film, whole, jumps=15) -> None:
    rng = np.random.default_rng(0)
    assert film.shape == whole.shape
    for first in rng.integers(0, len(whole), jumps):
        last = first + rng.integers(1, 12)
        np.testing.assert_array_equal(film[first:last], whole[first:last])
    for first in range(0, min(len(whole), 15)):
        np.testing.assert_array_equal(film[first : first + 10], whole[first : first + 10])


@pytest.mark.parametrize(("name", "n"), FILMS.items())
def test_slices_of_real_films(name, n) -> None:
    path = real_data(f"video/{name}")
    clip = read_film(path)
    assert len(clip) == n
    if n == 795:  # 1 GB whole: a stretch around its second key frame
        film = clip.frames
        with av.open(str(path)) as box:
            frames = itertools.islice(box.decode(video=0), 320)
            whole = [f.to_ndarray(format="rgb24").transpose(2, 0, 1) for f in frames]
        for first in (290, 305, 30, 299, 31):
            np.testing.assert_array_equal(film[first : first + 5], whole[first : first + 5])
    else:
        check_slices(clip.frames, plain(path))
    several = name == "nasa_13013.mp4"
    assert clip.notes == (("2 video streams: the first is read",) if several else ())


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("long.mp4", "libx264", {"g": "250", "bf": "3"}),
        ("open.mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("made_up_times.avi", "libx264", {"g": "12", "bf": "3"}),
        ("raw.h264", "libx264", {"g": "12", "bf": "3"}),
        ("late.ts", "mpeg2video", {"g": "12", "bf": "2"}),
    ],
)
def test_slices_with_frames_out_of_order(tmp_path, name, codec, options) -> None:
    path = encode(tmp_path / name, pictures(60), codec, "yuv420p", options)
    check_slices(read_film(path).frames, plain(path))


def test_lossless_film_odd_size_odd_path_and_times(tmp_path) -> None:
    made = pictures(12, 33, 47)
    stamps = [0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 24, 30]
    path = encode(tmp_path / "фильм é 1.mkv", made, **LOSSLESS, stamps=stamps)
    clip = read_film(path)
    assert clip.frames.shape == (12, 3, 33, 47)
    assert clip.frames.dtype == np.uint8
    assert isinstance(clip.frames, Film)
    np.testing.assert_array_equal(clip.frames[:], made.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(clip.frames))[3:5], made[3:5].transpose(0, 3, 1, 2)
    )
    np.testing.assert_allclose(clip.times, np.array(stamps) / 25, atol=1e-3)
    assert clip.frames[5:5].shape == (0, 3, 33, 47)
    assert clip.frames[-2:].shape[0] == 2
    with pytest.raises(ValueError, match="without a step"):
        clip.frames[::2]


def test_grey(tmp_path) -> None:
    grey = pictures(5)[..., 0]
    clip = read_film(encode(tmp_path / "grey.mkv", grey, "ffv1", "gray"))
    np.testing.assert_array_equal(clip.frames[:], grey[:, None])


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        # A telephone held upright: 90 degrees clockwise.
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1, (2, 3))),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1, (2, 3))),
    ],
)
def test_frames_are_turned_upright(tmp_path, matrix, turned) -> None:
    path = encode(tmp_path / "a.mp4", pictures(4), "mpeg4", "yuv420p")
    level = read_film(path).frames[:]
    raw = bytearray(path.read_bytes())
    a, b, c, d = matrix
    at = raw.find(b"tkhd") + 4 + 40  # the track header's matrix
    raw[at : at + 36] = np.array(
        [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], ">i4"
    ).tobytes()
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_film(path).frames[:], turned(level))


@pytest.mark.parametrize(("k", "stand_in"), [(4, 3), (0, 1), (7, 6)])
def test_a_broken_frame_is_filled(tmp_path, k, stand_in) -> None:
    made = pictures(8).transpose(0, 3, 1, 2)
    path = encode(tmp_path / "a.mkv", pictures(8), **LOSSLESS)
    spoil(path, k)
    film = read_film(path).frames
    with pytest.warns(
        UserWarning, match=f"frame {k} cannot be decoded; the frame before stands in its place"
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
        assert len(list(film_stream(path))) == 7
    assert len(told) == 1


def test_a_film_cut_short(tmp_path) -> None:
    for name in ("a.mkv", "a.avi", "a.mp4"):
        kind = ("mpeg4", "yuv420p", {"g": "5"}) if name != "a.mkv" else ("ffv1", "bgr0", {"g": "1"})
        path = encode(tmp_path / name, pictures(40), *kind)
        assert read_film(path).notes == ()
        if name == "a.mp4":  # the index in front
            with (
                av.open(str(path)) as box,
                av.open(str(tmp_path / "f.mp4"), "w", options={"movflags": "faststart"}) as out,
            ):
                copy = out.add_stream_from_template(box.streams.video[0])
                for packet in box.demux(box.streams.video[0]):
                    if packet.size:
                        packet.stream = copy
                        out.mux(packet)
            path = tmp_path / "f.mp4"
        before = read_film(path).frames[:]
        pos, size = packets(path)[24]
        path.write_bytes(path.read_bytes()[: pos + size // 2])
        clip = read_film(path)
        assert 23 <= len(clip) <= 24
        assert "cut short" in clip.notes[0]
        np.testing.assert_array_equal(clip.frames[:], before[: len(clip)])
        with pytest.raises(ValueError, match="cut short"):
            read_film(path, strict=True)


def test_what_is_no_film(tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("no film\n" * 50)
    (tmp_path / "empty.mp4").touch()
    path = encode(tmp_path / "a.mp4", pictures(9), "mpeg4", "yuv420p")
    raw = path.read_bytes()
    (tmp_path / "moov.mp4").write_bytes(raw[: raw.find(b"moov") - 4])
    with av.open(str(tmp_path / "sound.mp4"), "w") as box:
        out = box.add_stream("aac", rate=8000)
        silence = np.zeros((1, 8000), np.float32)
        sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        sound.rate = 8000
        box.mux([*out.encode(sound), *out.encode()])
    no_film = "is no film that can be read .*; give a whole mp4"
    words = dict.fromkeys(("text", "empty", "moov", "none"), no_film)
    for name, said in (words | {"sound": "no moving pictures"}).items():
        for read in (read_film, lambda path: next(film_stream(path))):
            with pytest.raises(ValueError, match=rf"{name}\.mp4 .*{said}") as error:
                read(tmp_path / f"{name}.mp4")
            assert "\n" not in str(error.value)


def test_a_stream_that_cannot_seek(tmp_path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    made = pictures(6)
    path = encode(tmp_path / "a.mkv", made, **LOSSLESS)
    np.testing.assert_array_equal(
        np.stack(list(film_stream(Pipe(path.read_bytes())))), made.transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(np.stack(list(film_stream(path))), made.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match="as a stream mkv"):
        next(film_stream(Pipe(b"no film" * 100)))


def test_memory_and_open_files_are_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(decoders, "MOST_OPEN", 3)
    monkeypatch.setattr(decoders, "KEPT_BYTES", 5 * 48 * 64 * 3)
    path = encode(tmp_path / "a.mkv", pictures(30), **LOSSLESS)
    readers = [read_film(path).frames for _ in range(6)]
    for film in readers * 2:
        np.testing.assert_array_equal(film[2:22], pictures(30)[2:22].transpose(0, 3, 1, 2))
        assert len(film._decoder()[1]) <= 5
    assert open_files(path) == 3
    for film in readers:
        film[22:30]
    assert open_files(path) == 0  # a film that is read to its end is closed


def read_two(film: Film) -> tuple[np.ndarray, np.ndarray]:
    return film[2:9], film[0:3]


def test_threads_and_processes_read_one_film_at_once(tmp_path) -> None:
    options = {"g": "12", "bf": "3"}
    path = encode(tmp_path / "a.mp4", pictures(60), "libx264", "yuv420p", options)
    film, whole = read_film(path).frames, plain(path)
    film[5:6]  # this thread's decoder stands somewhere
    with ThreadPoolExecutor(4) as pool:
        firsts = [7 * k % 50 for k in range(40)]
        for first, found in zip(firsts, pool.map(lambda k: film[k : k + 5], firsts), strict=True):
            np.testing.assert_array_equal(found, whole[first : first + 5])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        later, begin = pool.apply(read_two, (film,))
    np.testing.assert_array_equal(later, whole[2:9])
    np.testing.assert_array_equal(begin, whole[0:3])
    np.testing.assert_array_equal(film[6:9], whole[6:9])


def test_a_film_that_is_gone_is_said_each_time(tmp_path) -> None:
    made = {"codec": "mpeg4", "pix_fmt": "yuv420p", "options": {"g": "40"}}
    path = encode(tmp_path / "a.mp4", pictures(30), **made)
    film = read_film(path).frames
    path.unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.mp4 .*No such file"):
            film[20:22]


def open_files(path) -> int:
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("only Linux tells in a folder which files are open")
    return sum(link.is_symlink() and str(link.readlink()) == str(path) for link in folder.iterdir())


# -- budgets


def test_a_film_that_claims_large_pictures(tmp_path) -> None:
    header = b"YUV4MPEG2 W16000 H15000 F25:1 Ip A1:1 C420jpeg\nFRAME\n"
    (tmp_path / "a.y4m").write_bytes(header + bytes(1000))
    with pytest.raises(ValueError, match=r"of 15000x16000 pixels, would take .* budget of 1 GiB"):
        read_film(tmp_path / "a.y4m")


def test_pictures_larger_than_the_first_are_not_decoded(tmp_path) -> None:
    """A stream of JPEGs may hold one of any size behind a small first one."""
    with av.open(str(tmp_path / "a.avi"), "w") as box:
        out = box.add_stream("mjpeg", rate=10)
        out.height, out.width, out.pix_fmt = 32, 32, "yuvj420p"
        for k in range(6):
            side = 1024 if k == 3 else 32
            coder = av.CodecContext.create("mjpeg", "w")
            coder.height, coder.width, coder.pix_fmt = side, side, "yuvj420p"
            coder.time_base = Fraction(1, 10)
            values = np.full((side, side, 3), 40 * k, np.uint8)
            frame = av.VideoFrame.from_ndarray(values, "rgb24").reformat(format="yuvj420p")
            for packet in [*coder.encode(frame), *coder.encode(None)]:
                packet.pts = packet.dts = k
                packet.stream = out
                box.mux(packet)
    assert read_film(tmp_path / "a.avi").frames[:].shape == (6, 3, 32, 32)
    film = read_film(tmp_path / "a.avi", budget=16 * 512 * 512 / 2**30).frames
    with pytest.warns(UserWarning, match="frame 3 cannot be decoded"):
        pictures = film[:]
    assert film.broken == {3}
    np.testing.assert_array_equal(pictures[3], pictures[2])
