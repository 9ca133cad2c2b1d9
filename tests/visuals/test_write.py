"""Films, read back by PyAV; whole folders or none; shared palettes."""

import io

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from foreframe.visuals import animation, gif_bytes, write_frames, write_mp4
from standins import pixels

FILM = pixels(12, 63, 97)


@pytest.mark.parametrize("size", [(1, 1), (63, 97), (64, 96)])
def test_mp4_is_read_back(tmp_path, size) -> None:
    h, w = size
    frames = pixels(5, h, w)
    write_mp4(tmp_path / "a.mp4", iter(frames), fps=12.5)
    with av.open(str(tmp_path / "a.mp4"), "r") as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        # Said, or a player guesses by the size which colours are meant.
        assert (stream.codec_context.color_range, stream.codec_context.colorspace) == (1, 1)
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == 5
    assert shown[0].shape == (h + h % 2, w + w % 2, 3)
    padded = np.pad(frames, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    assert np.abs(np.stack(shown).astype(int) - padded).mean() < 6
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_mp4_is_written_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "a.mp4"
    write_mp4(path, FILM[:3])
    before = path.read_bytes()

    def cut_off():
        yield FILM[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mp4(path, cut_off())
    with pytest.raises(ValueError, match="no frames"):
        write_mp4(path, [])
    with pytest.raises(ValueError, match="fps"):
        write_mp4(path, FILM[:3], fps=0)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_fill_a_folder_whole_or_not_at_all(tmp_path) -> None:
    folder = tmp_path / "deep" / "frames"
    write_frames(folder, iter(FILM))
    names = sorted(path.name for path in folder.iterdir())
    assert (names[0], names[-1], len(names)) == ("frame-0001.png", "frame-0012.png", 12)
    assert (np.asarray(Image.open(folder / "frame-0003.png")) == FILM[2]).all()
    with pytest.raises(ValueError, match="not empty"):
        write_frames(folder, FILM)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="name a new folder"):
        write_frames(tmp_path / "file", FILM)
    with pytest.raises(ValueError, match="no frames"):
        write_frames(tmp_path / "none", [])
    (tmp_path / "empty").mkdir()
    write_frames(tmp_path / "empty", FILM[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "empty", "file"]


def frames_of(gif: bytes) -> np.ndarray:
    pictures = ImageSequence.Iterator(Image.open(io.BytesIO(gif)))
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])


def test_colours_of_photographs_do_not_flicker() -> None:
    rng = np.random.default_rng(0)
    still = rng.random((1, 3, 48, 48), dtype=np.float32).repeat(3, axis=0)
    # The last rows change, and bring other colours.
    still[:, :, 40:] = rng.random((3, 3, 8, 48), dtype=np.float32)
    back = frames_of(gif_bytes(animation(still, still)))[:3, 42:196]  # below the captions
    assert (back == back[0]).all()
