"""GIFs and numbered images, against the arrays they were made from."""

import numpy as np
import pytest
from PIL import Image

from conftest import real_data
from foreframe.data.images import read_gif, read_images


@pytest.fixture
def folder(tmp_path):
    """Twelve grey images, img1 to img12, a hidden file and a text."""
    made = np.random.default_rng(0).integers(0, 256, (12, 1, 10, 14), dtype=np.uint8)
    for k, picture in enumerate(made):
        Image.fromarray(picture[0]).save(tmp_path / f"img{k + 1}.png")
    (tmp_path / "._img1.png").write_text("hidden")
    (tmp_path / "notes.txt").write_text("none")
    return tmp_path, made


def test_natural_order_and_lists(folder) -> None:
    path, made = folder
    clip = read_images(path)
    np.testing.assert_array_equal(clip.frames[:], made)
    np.testing.assert_array_equal(clip.frames[3:7], made[3:7])
    assert (clip.frames.shape, clip.frames.dtype, clip.times, clip.name) == ((12, 1, 10, 14), np.uint8, None, path.name)
    np.testing.assert_array_equal(read_images([path / "img9.png", path / "img2.png"]).frames[:], made[[8, 1]])
    with pytest.raises(ValueError, match="without a step"):
        clip.frames[::2]


def opened_and_read(path, k):
    """The frames of a folder, and its pictures: frame k by itself, then all."""
    frames = read_images(path).frames
    return frames, [frames[k : k + 1][0], *frames[:]]


@pytest.mark.parametrize(("k", "stand_in"), [(4, 3), (0, 1), (11, 10)])
@pytest.mark.parametrize("how", ["torn", "text"])
def test_an_unreadable_image_is_filled(folder, k, stand_in, how) -> None:
    path, made = folder
    bad = path / f"img{k + 1}.png"
    bad.write_bytes(bad.read_bytes()[:60] if how == "torn" else b"no image")
    with pytest.warns(UserWarning, match=rf"img{k + 1}\.png \(frame {k}\) cannot be read; the image before") as told:
        frames, whole = opened_and_read(path, k)
    assert len(told) == 1
    assert frames.broken == {k}
    made[k] = made[stand_in]
    np.testing.assert_array_equal(whole, [made[k], *made])
    with pytest.raises(ValueError, match=rf"img{k + 1}\.png cannot be read"):
        read_images(path, strict=True).frames[:]


def test_sizes(folder) -> None:
    path, made = folder
    Image.fromarray(np.full((20, 28), 7, np.uint8)).save(path / "img13.png")
    with pytest.raises(ValueError, match=r"img1\.png is 10x14 and img13\.png 20x28.*give a size"):
        read_images(path)
    clip = read_images(path, size=(10, 14))
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
    frames = read_images(tmp_path).frames
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames[:], made)
    shrunk = read_images(tmp_path, size=(4, 4)).frames[:]
    np.testing.assert_allclose(shrunk, made.reshape(3, 1, 4, 2, 4, 2).mean((3, 5)), atol=1)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"9.{suffix}")
    with pytest.raises(ValueError, match="uint16 and"):
        read_images(tmp_path)


def test_colour_alpha_palettes_and_turned_pictures(tmp_path) -> None:
    red = np.zeros((6, 8, 4), np.uint8)
    red[..., 0], red[:, :4, 3] = 200, 255  # the right half is transparent
    Image.fromarray(red).save(tmp_path / "0.png")
    Image.fromarray(red[..., :3]).quantize(4).save(tmp_path / "1.png")
    Image.fromarray(red[..., 0]).save(tmp_path / "2.png")
    clip = read_images(tmp_path)
    frames = clip.frames[:]
    assert frames.shape == (3, 3, 6, 8)
    assert (frames[0, 0, :, :4] == 200).all()
    assert frames[0, :, :, 4:].max() == 0
    assert (frames[1, 0] == 200).all()
    assert (frames[2] == 200).all()
    assert clip.notes == ("1 of 3 images are grey: they are given three equal channels",)
    assert read_images([tmp_path / "2.png", tmp_path / "0.png"]).frames.shape[1] == 1

    tag = Image.Exif()
    tag[0x0112] = 6
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) * 5).save(tmp_path / "turned.jpg", exif=tag)
    turned = read_images([tmp_path / "turned.jpg"]).frames
    assert turned.shape == (1, 1, 8, 6)
    assert turned[:].shape == turned.shape


def test_no_images(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no images"):
        read_images(tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        read_images(tmp_path / "none")
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        read_images(tmp_path)


def test_gifs(tmp_path) -> None:
    made = (np.random.default_rng(0).integers(0, 8, (4, 12, 16)) * 30).astype(np.uint8)
    first, *rest = [Image.fromarray(picture) for picture in made]
    first.save(tmp_path / "grey.gif", save_all=True, append_images=rest, duration=[100, 50, 200, 100], loop=0)
    clip = read_gif(tmp_path / "grey.gif")
    np.testing.assert_array_equal(clip.frames[:], made[:, None])
    np.testing.assert_array_equal(clip.frames[2:3], made[2:3, None])
    np.testing.assert_allclose(clip.times, [0, 0.1, 0.15, 0.35])

    spot = np.zeros((3, 10, 10, 4), np.uint8)
    for k in range(3):
        spot[k, k : k + 3, 2:5] = (255, 0, 0, 255)
    first, *rest = [Image.fromarray(picture) for picture in spot]
    first.save(tmp_path / "clear.gif", save_all=True, append_images=rest, duration=40, disposal=2)
    np.testing.assert_array_equal(read_gif(tmp_path / "clear.gif").frames[:], spot[..., :3].transpose(0, 3, 1, 2))

    (tmp_path / "text.gif").write_text("no gif")
    for name, words in {"text.gif": "no GIF that can be read", "none.gif": "no file"}.items():
        with pytest.raises(ValueError, match=words):
            read_gif(tmp_path / name)


def test_a_real_gif() -> None:
    clip = read_gif(real_data("video/newtonscradle.gif"))
    assert clip.frames.shape[::2] == (36, 150)
    assert clip.frames[5:9].shape[0] == 4
    assert (np.diff(clip.times) > 0).all()
