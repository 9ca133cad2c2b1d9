"""GIFs and numbered images, against the arrays they were made from."""

import struct

import numpy as np
import pytest
from PIL import Image

from foreframe.data import clips_from
from foreframe.data.pictures import SUFFIXES, Pictures, natural, read_gif
from recorded import animation, pictures


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
    """The frames of a folder's pictures."""
    paths = [one for one in path.iterdir() if one.suffix in SUFFIXES and one.name[0] != "."]
    return Pictures(sorted(paths, key=natural), **how)


def read_through(path):
    frames = images(path)
    frames[:]
    return frames


def test_natural_order_without_hidden_files(folder) -> None:
    path, made = folder
    with pytest.warns(UserWarning, match="1 file skipped: notes.txt"):
        (clip,) = clips_from(path)
    assert (clip.frames.dtype, clip.times) == (np.uint8, None)
    np.testing.assert_array_equal(clip.frames[:], made)


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
        images(path, strict=True)[:]


def test_sizes(folder) -> None:
    path, made = folder
    Image.fromarray(np.full((20, 28), 7, np.uint8)).save(path / "img13.png")
    with pytest.raises(ValueError, match=r"img13\.png is \(1, 20, 28\) uint8, .*; give a size"):
        images(path)[:]
    frames = images(path, size=(10, 14))
    np.testing.assert_array_equal(frames[:12], made)
    assert (frames[12:] == 7).all()
    small = Pictures([path / "img1.png"], size=(5, 7))[:]
    blocks = made[0, 0].reshape(5, 2, 7, 2).mean((1, 3))  # what a box filter is
    np.testing.assert_allclose(small[0, 0], blocks, atol=1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits(tmp_path, suffix) -> None:
    made = np.random.default_rng(0).integers(0, 65536, (3, 1, 8, 8)).astype(np.uint16)
    pictures(tmp_path, made[:, 0], suffix)
    frames = images(tmp_path)
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames[:], made)
    shrunk = images(tmp_path, size=(4, 4))[:]
    np.testing.assert_allclose(shrunk, made.reshape(3, 1, 4, 2, 4, 2).mean((3, 5)), atol=1)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"9.{suffix}")
    with pytest.raises(ValueError, match=r"uint8, .* uint16; .*with one depth"):
        images(tmp_path)[:]


def test_colour_alpha_palettes_and_turned_pictures(tmp_path) -> None:
    red = np.zeros((6, 8, 4), np.uint8)
    red[..., 0], red[:, :4, 3] = 200, 255  # the right half is transparent
    Image.fromarray(red).save(tmp_path / "0.png")
    Image.fromarray(red[..., :3]).quantize(4).save(tmp_path / "1.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "2.png")
    frames = images(tmp_path)[:]
    assert frames.shape == (3, 3, 6, 8)
    assert (frames[0, 0, :, :4] == 200).all()
    assert frames[0, :, :, 4:].max() == 0
    assert (frames[1, 0] == 200).all()
    assert (frames[2] == 200).all()
    assert Pictures([tmp_path / "2.png", tmp_path / "0.png"])[:].shape[1] == 1

    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(red[..., 0]).save(tmp_path / "turned.jpg", exif=tag)
    assert Pictures([tmp_path / "turned.jpg"])[:].shape == (1, 1, 8, 6)


@pytest.mark.filterwarnings("ignore:a.png")
def test_no_image_that_can_be_read(tmp_path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        images(tmp_path)


# -- files of several pictures


def test_gifs(tmp_path) -> None:
    made = (np.random.default_rng(0).integers(0, 8, (4, 12, 16)) * 30).astype(np.uint8)
    animation(tmp_path / "grey.gif", made, duration=[100, 50, 200, 100])
    clip = read_gif(tmp_path / "grey.gif")
    np.testing.assert_array_equal(clip.frames[:], made[:, None])
    np.testing.assert_allclose(clip.times, [0, 0.1, 0.15, 0.35])

    spot = np.zeros((3, 10, 10, 4), np.uint8)
    for k in range(3):
        spot[k, k : k + 3, 2:5] = (255, 0, 0, 255)
    animation(tmp_path / "clear.gif", spot, duration=40, disposal=2)
    frames = read_gif(tmp_path / "clear.gif").frames[:]
    np.testing.assert_array_equal(frames, spot[..., :3].transpose(0, 3, 1, 2))

    (tmp_path / "text.gif").write_text("no gif")
    (tmp_path / "cut.gif").write_bytes((tmp_path / "grey.gif").read_bytes()[:-200])
    for name in ("text.gif", "cut.gif"):
        with pytest.raises(ValueError, match="no animation that can be read"):
            read_gif(tmp_path / name)


@pytest.mark.parametrize("ending", ["webp", "tif"])
def test_a_file_of_several_pictures_is_no_recording(tmp_path, ending: str) -> None:
    animation(tmp_path / f"a.{ending}", np.arange(216, dtype=np.uint8).reshape(3, 8, 9))
    with pytest.raises(ValueError, match="is a single picture"):
        clips_from(tmp_path / f"a.{ending}")
    with pytest.raises(ValueError, match="store each in a separate file"):
        clips_from(tmp_path, strict=True)


# -- budgets


def test_large_pictures_are_refused_or_made_small_one_at_a_time(tmp_path) -> None:
    for k in range(3):
        Image.new("L", (2_000, 2_000)).save(tmp_path / f"{k}.png")
    with pytest.raises(ValueError, match=r"0\.png of 2000x2000 pixels would take"):
        clips_from(tmp_path, budget=0.03, size=[10, 10])
    for smaller in ({"size": [10, 10]}, {"crop": [0, 0, 40, 40], "coarsen": 4}):
        (clip,) = clips_from(tmp_path, budget=0.07, **smaller)
        assert clip.frames[1:3].shape == (2, 1, 10, 10)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (65_535, "a.gif is no animation .*exceeds limit"),
        (4_000, "200 frames of 3x4000x4000, would take .* GiB"),
    ],
)
def test_a_gif_of_many_frames_on_a_large_canvas(tmp_path, side: int, message: str) -> None:
    """Two hundred pictures of one pixel, each of which would be drawn on the canvas."""
    animation(tmp_path / "a.gif", np.arange(200, dtype=np.uint8)[:, None, None], duration=40)
    whole = bytearray((tmp_path / "a.gif").read_bytes())
    whole[6:10] = struct.pack("<HH", side, side)
    (tmp_path / "a.gif").write_bytes(whole)
    with pytest.raises(ValueError, match=message):
        clips_from(tmp_path / "a.gif")


def test_a_folder_is_opened_by_its_first_picture(tmp_path, monkeypatch) -> None:
    """The others are opened only as they are read: over a network each costs a round trip."""
    for k in range(9):
        Image.fromarray(np.full((8, 8), k, np.uint8)).save(tmp_path / f"{k}.webp", lossless=True)
    opened, before = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda path, *rest: opened.append(path.name) or before(path, *rest)
    )
    (clip,) = clips_from(tmp_path)
    assert set(opened) == {"0.webp"}
    assert clip.frames[:].max() == 8
