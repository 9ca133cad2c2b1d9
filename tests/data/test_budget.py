"""What files claim is weighed before it is taken: each test would otherwise take more memory than
any machine has.
"""

import io
import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foreframe.base.schema import typed
from foreframe.clips.clip import Clip, Window
from foreframe.clips.frames import Frames
from foreframe.data import (
    DataOptions,
    ReadOptions,
    Recordings,
    SplitOptions,
    clips_from,
    open_dataset,
)
from foreframe.data.readers import in_parts
from foreframe.data.splits import UNDECIDED
from refusals import one_line

HUGE = 10**6


def header(shape: tuple[int, ...]) -> bytes:
    """The start of a .npy file that claims to hold `shape`."""
    out = io.BytesIO()
    claim = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(out, claim)
    return out.getvalue()


@pytest.mark.parametrize("order", [b"False", b"True "])
def test_npy_headers_that_claim_much(tmp_path: Path, order: bytes) -> None:
    claim = header((HUGE, 1000, 1000)).replace(b"False", order)
    (tmp_path / "a.npy").write_bytes(claim + bytes(100))
    with one_line("truncated"):
        clips_from(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("name", "shape"), [("frames", (150, 1, 500, 500)), ("times", (37_500_000,))]
)
def test_a_member_that_inflates_enormously_is_refused_by_its_header(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "a.npz", clips=np.ones((5, 5, 4, 4)), small=np.ones((5, 4, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr(f"{name}.npy", header(shape))
    with one_line(rf"{name} .* 0\.14 GiB .* budget of 0\.1 GiB; .* raise budget to 1"):
        clips_from(tmp_path / "a.npz", "small" if name == "times" else name, budget=0.1)
    given = DataOptions(str(tmp_path / "a.npz"), reading=ReadOptions(budget=1e-7, variable="clips"))
    with pytest.raises(ValueError, match="budget of 1e-07 GiB"):
        open_dataset(given, "train")


def test_a_header_that_claims_to_be_long_is_not_read(tmp_path: Path) -> None:
    """numpy reads a header of 4 GiB before it finds it too long."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\2\0\xff\xff\xff\x0f" + bytes(2**26))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="it has no header of a"):
        clips_from(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kilobytes


def test_a_slice_takes_no_more_than_the_budget(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((300, 100, 100), np.uint8))
    for options in ({}, {"coarsen": 2}):
        (clip,) = clips_from(tmp_path / "a.npy", budget=0.0005, **options)
        assert clip[:40].frames.shape[0] == 40
        with one_line(r"a stretch of 300 frames .* read fewer, or raise budget to 1"):
            clip[:]


@pytest.mark.parametrize("size", [(10**9, 10**9), (10**9, 1), (20_000, 20_000)])
def test_a_size_beyond_the_budget_is_refused_before_anything_is_read(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"one frame of 1x\d+x\d+.*budget of 1 GiB"):
        clips_from(tmp_path / "a.npy", size=size)


class Counted(Frames):
    """Frames of 8-bit numbers, each its own number; counts how many were ever read at once."""

    most = 0

    def __init__(self, *shape: int) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint8)

    def read(self, first: int, last: int) -> np.ndarray:
        self.most = max(self.most, last - first)
        numbers = np.arange(first, last).astype(np.uint8)
        return np.broadcast_to(numbers[:, None, None, None], (last - first, *self.shape[1:]))


def test_big_frames_that_are_made_small_are_read_one_at_a_time() -> None:
    source = Counted(40, 1, 50_000, 4_000)
    with pytest.raises(ValueError, match="crop, size or coarsen make it smaller"):
        in_parts(Clip(source), ReadOptions())
    (clip,) = in_parts(Clip(source), ReadOptions(crop=(0, 0, 40, 40), coarsen=10))
    np.testing.assert_array_equal(clip[7:11].frames[:, 0, 0, 0], range(7, 11))
    assert source.most == 1


def test_frames_that_no_disk_holds_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREFRAME_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "a.npy", np.zeros((10, 8, 8), np.uint8))

    endless = Clip(Counted(10**9, 1, 1000, 1000), name="it")
    monkeypatch.setattr("foreframe.data.decoding.raw_by_folder", lambda *_: {UNDECIDED: [endless]})
    with one_line(r"it: 9\.31e\+05 GiB of frames would be decoded into .* are free"):
        Recordings(tmp_path / "a.npy", "train", Window(2, 2))
    assert not (tmp_path / "cache").exists()


# -- options that mean nothing


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ReadOptions, "size", [3]),
        (ReadOptions, "size", [10**30, 3]),
        (ReadOptions, "crop", [-1, 0, 3, 3]),
        (ReadOptions, "crop", [0, 0, 3, 0]),
        (ReadOptions, "select", {"level": [1, 2]}),
        (ReadOptions, "variable", []),
        (SplitOptions, "active", float("nan")),
        (SplitOptions, "shares", [2, -1, 0]),
    ],
)
def test_options_that_mean_nothing(kind: type, name: str, value: Any) -> None:
    with one_line(f"{name}|frame"):
        typed(kind, {name: value}, "")
