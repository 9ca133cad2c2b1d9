"""Frames out of .npy files, against numpy's own reading of them."""

import io
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from foreframe.clips.clip import Window, check_frames
from foreframe.data import ArrayClips, Recordings, SplitOptions, clips_from
from foreframe.data.npy import NpyFrames, frames_in, header_of, read_array
from refusals import one_line

RANDOM = np.random.default_rng(11)


def opened(path: Path) -> NpyFrames:
    return frames_in(path, header_of(path))


@pytest.mark.parametrize("kind", ["u1", ">i2", ">f4", "<f2", "?"])
def test_any_stretch_of_frames_rows_and_columns_is_numpys(tmp_path: Path, kind: str) -> None:
    made = RANDOM.integers(0, 100, (9, 2, 7, 5)).astype(kind)
    np.save(tmp_path / "a.npy", made)
    frames = opened(tmp_path / "a.npy")
    assert frames.dtype.isnative
    assert len(frames) == 9
    for cut in (np.s_[3:7], np.s_[-1], np.s_[5:5], np.s_[1:4, :, 2:5, 1:3]):
        got = frames[cut]
        np.testing.assert_array_equal(got, made[cut])
        assert got.dtype.isnative
    np.testing.assert_array_equal(frames.part(2, 6)[1:3], made[3:5])


def test_threads_and_processes_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = RANDOM.random((60, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", made)
    frames = opened(tmp_path / "a.npy")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(frames))[4:9], made[4:9])
    with ThreadPoolExecutor(8) as pool:
        for k, got in enumerate(pool.map(lambda k: frames[k % 60 : k % 60 + 1], range(600))):
            np.testing.assert_array_equal(got[0], made[k % 60])
    monkeypatch.setattr("foreframe.data.decoding.IN_MEMORY", 1000)
    dataset = Recordings(tmp_path / "a.npy", "train", Window(2, 2))
    assert isinstance(dataset.clips[0].frames, NpyFrames)
    loaded = torch.cat(list(DataLoader(dataset, batch_size=8, num_workers=2)))
    assert torch.equal(loaded, torch.stack([dataset[k] for k in range(len(dataset))]))


def test_a_file_that_is_shorter_now_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foreframe.data.decoding.IN_MEMORY", 1000)
    np.save(tmp_path / "tiles.npy", RANDOM.random((20, 300, 200), np.float32))
    np.save(tmp_path / "clips.npy", RANDOM.random((40, 9, 8, 8), np.float32))
    tiles = SplitOptions(tile=16)
    datasets = (
        Recordings(tmp_path / "tiles.npy", "train", Window(2, 2), splits=tiles),
        ArrayClips(tmp_path / "clips.npy", "train"),
    )
    assert datasets[0][-1].shape == (4, 1, 16, 16)
    for name in ("tiles", "clips"):
        with (tmp_path / f"{name}.npy").open("r+b") as file:
            file.truncate(200)
    for dataset in datasets:
        with one_line("is no longer readable"):
            dataset[-1]


def test_frames_that_were_mapped_do_not_stay_in_memory(tmp_path: Path) -> None:
    def mapped() -> int:
        """Bytes of files that lie in this process's memory."""
        if not Path("/proc/self/statm").exists():
            pytest.skip("/proc tells what is mapped")
        return int(Path("/proc/self/statm").read_text().split()[2]) * resource.getpagesize()

    np.save(tmp_path / "a.npy", np.ones((60, 1, 1000, 1000), np.uint8))
    frames = opened(tmp_path / "a.npy")
    before = mapped()
    for k in range(60):
        assert frames[k : k + 1, :, 7:900, :].max() == 1
    assert mapped() - before < 5 * 2**20


def test_other_byte_orders_are_read_right(tmp_path: Path) -> None:
    made = RANDOM.random((20, 8, 8)).astype(">f4")
    np.save(tmp_path / "a.npy", made)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(made))
    latitude, times = np.arange(8, 0, -1).astype(">f8"), np.arange(20).astype(">i4")
    np.savez(tmp_path / "a.npz", frames=made, latitude=latitude, times=times)
    for name in ("a.npy", "fortran.npy", "a.npz"):
        dataset = Recordings(tmp_path / name, "all", Window(3, 2), scaling={"low": 0, "high": 1})
        np.testing.assert_array_equal(dataset[2][:, 0], made[2:7].astype(np.float32), err_msg=name)
    (clip,) = clips_from(tmp_path / "a.npz")
    held = (clip.times, clip.frames, *clip.coordinates.values())
    assert all(np.asarray(values).dtype.isnative for values in held)
    np.testing.assert_array_equal(check_frames(made[:, None]).numpy()[:, 0], made)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (np.zeros((3, 4, 5), complex), "complex128, not numbers"),
        (np.zeros((3, 4, 5), "f4,i2"), "not numbers"),
        (np.zeros((3, 4, 5), np.longdouble), "not numbers"),
        (np.array([{}]), "object, not numbers"),
        (np.zeros((3, 0, 5)), "is no recording"),
        (np.zeros((0, 4, 1, 5, 5)), "is no recording"),
        (np.float32(3), "is no recording"),
    ],
)
def test_what_no_frames_are_made_of(tmp_path: Path, made: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", made)
    np.savez(tmp_path / "a.npz", frames=made)
    for name in ("a.npy", "a.npz"):
        with one_line(message):
            clips_from(tmp_path / name)


@pytest.mark.parametrize(
    "times",
    [
        np.zeros((3, 2)),
        np.zeros(3, complex),
        np.arange(4),
        np.array([0, np.nan, 2]),
        np.array(["2020-01-01", "NaT", "2020-01-03"], "M8[D]"),
        np.array(["9" * 50] * 3),
    ],
)
def test_times_that_are_none(tmp_path: Path, times: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", frames=np.zeros((3, 4, 5)), times=times)
    with pytest.raises(ValueError, match="times are not one time for each of 3 frames"):
        clips_from(tmp_path / "a.npz")


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_array_after_the_other_out_of_a_pipe(order: str) -> None:
    made = [np.asarray(RANDOM.random((4, 5)), ">f4", order=order), RANDOM.integers(0, 9, (2, 3, 4))]
    plain = io.BytesIO()
    for values in made:
        np.save(plain, values)
    pipe = SimpleNamespace(read=io.BytesIO(plain.getvalue()).read)
    for values in made:
        got = read_array(pipe)
        np.testing.assert_array_equal(got, values)
        assert got.dtype.isnative
    with pytest.raises(ValueError, match="it has no header"):
        read_array(pipe)
    with pytest.raises(EOFError):
        read_array(io.BytesIO(plain.getvalue()[:150]))
    claim = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    np.lib.format.write_array_header_2_0(huge := io.BytesIO(), claim)
    with pytest.raises(ValueError, match=r"an array of shape \(1000000, 1000000\) would take"):
        read_array(io.BytesIO(huge.getvalue()))
