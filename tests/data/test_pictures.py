"""GIFs and numbered images, against the arrays they were made from."""

import multiprocessing
import shutil
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import GifImagePlugin, Image

from conftest import real_data
from foreframe.data import ReadOptions, clips_from
from foreframe.data.check import check_recordings
from foreframe.data.pictures import SUFFIXES, natural, read_gif, read_images


@pytest.fixture
def folder(tmp_path):
    """Twelve grey images, img1 to img12, a hidden file and a text."""
    made = np.random.default_rng(0).integers(0, 256, (12, 1, 10, 14), dtype=np.uint8)
    for k, picture in enumerate(made):
        Image.fromarray(picture[0]).save(tmp_path / f"img{k + 1}.png")
    (tmp_path / "._img1.png").write_text("hidden")
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path, made


def images(path, **how):
    """The clip of a folder's pictures."""
    paths = [one for one in path.iterdir() if one.suffix in SUFFIXES and one.name[0] != "."]
    return read_images(sorted(paths, key=natural), **how)


def test_natural_order_without_hidden_files(folder) -> None:
    path, made = folder
    with pytest.warns(UserWarning, match="1 file left out: notes.txt"):
        (clip,) = clips_from(path)
    assert (clip.frames.dtype, clip.times) == (np.uint8, None)
    np.testing.assert_array_equal(clip.frames[:], made)
    np.testing.assert_array_equal(clip.frames[3:7], made[3:7])


def read_through(path):
    frames = images(path).frames
    frames[:]
    return frames


@pytest.mark.parametrize(("k", "stand_in"), [(4, 3), (0, 1), (11, 10)])
@pytest.mark.parametrize("how", ["torn", "text"])
def test_an_unreadable_image_is_filled(folder, k, stand_in, how) -> None:
    path, made = folder
    bad = path / f"img{k + 1}.png"
    bad.write_bytes(bad.read_bytes()[:60] if how == "torn" else b"no image")
    words = rf"img{k + 1}\.png \(frame {k}\) cannot be read; the image before"
    with pytest.warns(UserWarning, match=words) as said:
        frames = read_through(path)
    whole = [frames[k : k + 1][0], *frames[:]]
    assert len(said) == 1
    assert frames.broken == {k}
    made[k] = made[stand_in]
    np.testing.assert_array_equal(whole, [made[k], *made])
    with pytest.raises(ValueError, match=rf"img{k + 1}\.png cannot be read"):
        images(path, strict=True).frames[:]


def test_sizes(folder) -> None:
    path, made = folder
    Image.fromarray(np.full((20, 28), 7, np.uint8)).save(path / "img13.png")
    with pytest.raises(ValueError, match=r"img1\.png is 10x14 uint8 and img13\.png 20x28"):
        images(path)
    clip = images(path, size=(10, 14))
    np.testing.assert_array_equal(clip.frames[:12], made)
    assert (clip.frames[12:] == 7).all()
    small = read_images([path / "img1.png"], size=(5, 7)).frames[:]
    blocks = made[0, 0].reshape(5, 2, 7, 2).mean((1, 3))  # what a box filter is
    np.testing.assert_allclose(small[0, 0], blocks, atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, suffix) -> None:
    made = np.random.default_rng(0).integers(0, 65536, (3, 1, 8, 8)).astype(np.uint16)
    for k, picture in enumerate(made):
        Image.fromarray(picture[0]).save(tmp_path / f"{k}.{suffix}")
    frames = images(tmp_path).frames
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames[:], made)
    shrunk = images(tmp_path, size=(4, 4)).frames[:]
    np.testing.assert_allclose(shrunk, made.reshape(3, 1, 4, 2, 4, 2).mean((3, 5)), atol=1)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"9.{suffix}")
    with pytest.raises(ValueError, match=r"uint16 and .*the same depth"):
        images(tmp_path)


def test_colour_alpha_palettes_and_turned_pictures(tmp_path) -> None:
    red = np.zeros((6, 8, 4), np.uint8)
    red[..., 0], red[:, :4, 3] = 200, 255  # the right half is transparent
    Image.fromarray(red).save(tmp_path / "0.png")
    Image.fromarray(red[..., :3]).quantize(4).save(tmp_path / "1.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "2.png")
    clip = images(tmp_path)
    frames = clip.frames[:]
    assert frames.shape == (3, 3, 6, 8)
    assert (frames[0, 0, :, :4] == 200).all()
    assert frames[0, :, :, 4:].max() == 0
    assert (frames[1, 0] == 200).all()
    assert (frames[2] == 200).all()
    assert clip.notes == ("1 of 3 images are turned RGB",)
    assert read_images([tmp_path / "2.png", tmp_path / "0.png"]).frames.shape[1] == 1

    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5).save(
        tmp_path / "turned.jpg", exif=tag
    )
    turned = read_images([tmp_path / "turned.jpg"]).frames
    assert turned.shape == (1, 1, 8, 6)
    assert turned[:].shape == turned.shape


def test_no_image_that_can_be_read(tmp_path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        images(tmp_path)


def test_gifs(tmp_path) -> None:
    made = (np.random.default_rng(0).integers(0, 8, (4, 12, 16)) * 30).astype(np.uint8)
    first, *rest = [Image.fromarray(picture) for picture in made]
    how = {"save_all": True, "append_images": rest, "duration": [100, 50, 200, 100]}
    first.save(tmp_path / "grey.gif", **how)
    clip = read_gif(tmp_path / "grey.gif")
    np.testing.assert_array_equal(clip.frames[:], made[:, None])
    np.testing.assert_array_equal(clip.frames[2:3], made[2:3, None])
    np.testing.assert_allclose(clip.times, [0, 0.1, 0.15, 0.35])

    spot = np.zeros((3, 10, 10, 4), np.uint8)
    for k in range(3):
        spot[k, k : k + 3, 2:5] = (255, 0, 0, 255)
    first, *rest = [Image.fromarray(picture) for picture in spot]
    first.save(tmp_path / "clear.gif", save_all=True, append_images=rest, duration=40, disposal=2)
    np.testing.assert_array_equal(
        read_gif(tmp_path / "clear.gif").frames[:], spot[..., :3].transpose(0, 3, 1, 2)
    )

    (tmp_path / "text.gif").write_text("no gif")
    with pytest.raises(ValueError, match="no animation that can be read"):
        read_gif(tmp_path / "text.gif")


def test_a_real_gif() -> None:
    clip = read_gif(real_data("video/newtonscradle.gif"))
    whole = read_gif(real_data("video/newtonscradle.gif")).frames[:]
    assert clip.frames.shape[::2] == (36, 150)
    for first in (21, 5, 30, 6):
        np.testing.assert_array_equal(clip.frames[first : first + 6], whole[first : first + 6])
    assert (np.diff(clip.times) > 0).all()


# -- files of several pictures


def gif_of(path, t, h=12, w=16):
    """A GIF of t frames, each its own, and the frames."""
    made = (np.random.default_rng(0).integers(0, 8, (t, h, w)) * 30).astype(np.uint8)
    first, *rest = [Image.fromarray(picture) for picture in made]
    first.save(path, save_all=True, append_images=rest, duration=40)
    return made


def test_reading_a_gif_takes_as_many_steps_as_it_has_frames(tmp_path, monkeypatch) -> None:
    made = gif_of(tmp_path / "a.gif", 120)
    frames = read_gif(tmp_path / "a.gif").frames
    steps = []
    seek = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "_seek",
        lambda self, frame, *rest: (steps.append(frame), seek(self, frame, *rest)),
    )
    for k in range(110):  # windows that overlap
        np.testing.assert_array_equal(frames[k : k + 10][:, 0], made[k : k + 10])
    assert len(steps) <= 125
    np.testing.assert_array_equal(frames[3:7][:, 0], made[3:7])  # back, from the start
    assert frames[0:1][0, 0, 0, 0] == made[0, 0, 0]


def read_both(frames):
    return frames[2:9], frames[0:3]


def test_threads_and_processes_read_one_gif_at_once(tmp_path) -> None:
    made = gif_of(tmp_path / "a.gif", 30)[:, None]
    frames = read_gif(tmp_path / "a.gif").frames
    frames[5:6]  # the parent's decoder stands somewhere
    with ThreadPoolExecutor(4) as pool:
        for k, got in enumerate(pool.map(lambda k: frames[k % 30 : k % 30 + 1], range(200))):
            np.testing.assert_array_equal(got[0], made[k % 30])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        later, begin = pool.apply(read_both, (frames,))
    np.testing.assert_array_equal(later, made[2:9])
    np.testing.assert_array_equal(begin, made[0:3])


def test_an_animated_webp_is_a_film_and_a_single_one_a_picture(tmp_path) -> None:
    made = (np.arange(5)[:, None, None, None] * 40 + np.zeros((1, 16, 24, 3))).astype(np.uint8)
    first, *rest = [Image.fromarray(picture) for picture in made]
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=50, lossless=True)
    (clip,) = clips_from(tmp_path / "a.webp")
    assert clip.frames.shape == (5, 1, 16, 24)
    np.testing.assert_array_equal(clip.frames[1:4][:, 0, 0, 0], [40, 80, 120])
    np.testing.assert_allclose(clip.times, np.arange(5) * 0.05)
    first.save(tmp_path / "b.webp", lossless=True)
    rest[0].save(tmp_path / "c.webp", lossless=True)
    pictures, film = clips_from(tmp_path)
    assert (len(pictures), len(film)) == (2, 5)
    with pytest.raises(ValueError, match="is a single picture"):
        clips_from(tmp_path / "b.webp")
    (tmp_path / "b.webp").unlink()
    (tmp_path / "c.webp").unlink()
    assert [len(clip) for clip in clips_from(tmp_path)] == [5]


def test_several_pages_of_a_tiff_are_no_recording(tmp_path) -> None:
    first, *rest = [Image.fromarray(np.full((8, 9), k, np.uint8)) for k in range(3)]
    first.save(tmp_path / "a.tif", save_all=True, append_images=rest)
    for source in (tmp_path / "a.tif", tmp_path):
        with pytest.raises(ValueError, match="store each in a file of its own"):
            clips_from(source)
    first.save(tmp_path / "b.tif")
    with pytest.warns(UserWarning, match=r"1 file left out: .*a\.tif: several pages"):
        (clip,) = clips_from(tmp_path)
    assert clip.frames.shape == (1, 1, 8, 9)


# -- budgets


def bomb(path, h, w):
    """A PNG of nothing: a few kilobytes."""
    header = struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + w) * h), 9)
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_pictures_that_claim_much_are_refused_or_made_small_one_at_a_time(tmp_path) -> None:
    bomb(tmp_path / "0.png", 4_000, 4_000)
    for k in range(1, 20):
        shutil.copy(tmp_path / "0.png", tmp_path / f"{k}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pillow's own says nothing
        with pytest.raises(
            ValueError,
            match=r"one frame of 1x4000x4000.*crop, size or coarsen make it smaller.*raise budget",
        ) as told:
            clips_from(tmp_path, budget=0.1)
        assert "\n" not in str(told.value)
        with pytest.raises(ValueError, match=r"1x4000x4000"):  # before any picture is decoded
            check_recordings(tmp_path, ReadOptions(budget=0.1))
        (clip,) = clips_from(tmp_path, budget=0.1, size=[10, 10])
        assert clip.frames[3:5].shape == (2, 1, 10, 10)
        (clip,) = clips_from(tmp_path, budget=0.1, crop=[0, 0, 40, 40], coarsen=4)
        assert clip.frames[3:5].shape == (2, 1, 10, 10)
        with pytest.raises(ValueError, match=r"0\.png of 4000x4000 pixels would take"):
            clips_from(tmp_path, budget=0.01, size=[10, 10])
        (clip,) = clips_from(tmp_path)
        assert clip.frames.shape == (20, 1, 4000, 4000)


def test_a_gif_that_claims_a_large_canvas(tmp_path) -> None:
    gif_of(tmp_path / "a.gif", 3)
    whole = bytearray((tmp_path / "a.gif").read_bytes())
    whole[6:10] = b"\xff\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.gif is no animation .*exceeds limit"):
        clips_from(tmp_path / "a.gif")


def test_a_gif_of_many_frames_on_a_large_canvas(tmp_path) -> None:
    """Two thousand pictures of one pixel, each of which would be drawn on a canvas of 16
    million.
    """
    gif_of(tmp_path / "a.gif", 2000, 1, 1)
    whole = bytearray((tmp_path / "a.gif").read_bytes())
    whole[6:10] = struct.pack("<HH", 4000, 4000)
    (tmp_path / "a.gif").write_bytes(whole)
    with pytest.raises(
        ValueError, match=r"says that it holds \d+ frames of 3x4000x4000, .* GiB, in \d+ bytes"
    ):
        clips_from(tmp_path / "a.gif")
