"""What files claim is weighed before it is taken: each test would otherwise take more memory than
any machine has.
"""

import io
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from foreframe.clips.clip import Clip, Window
from foreframe.clips.frames import Frames
from foreframe.clips.scaling import Moments
from foreframe.data import (
    ArrayClips,
    DataOptions,
    ReadOptions,
    Recordings,
    SplitOptions,
    clips_from,
    open_dataset,
)
from foreframe.data.readers import in_parts
from foreframe.data.splits import UNDECIDED

HUGE = 10**6


def header(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    """The start of a .npy file that claims to hold `shape`."""
    out = io.BytesIO()
    np.lib.format.write_array_header_2_0(
        out, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def one_line(error: pytest.ExceptionInfo[ValueError]) -> None:
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_npy_headers_that_claim_much(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header((HUGE, 1000, 1000)) + bytes(100))
    (tmp_path / "fortran.npy").write_bytes(
        header((HUGE, 1000, 1000)).replace(b"False", b"True ") + bytes(100)
    )
    for name in ("a.npy", "fortran.npy"):
        with pytest.raises(ValueError, match="cut short") as told:
            clips_from(tmp_path / name)
        one_line(told)


def test_a_member_that_inflates_enormously_is_refused_by_its_header(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("frames.npy", "w", force_zip64=True) as member:
            member.write(header((150, 1, 500, 500)))
            for _ in range(150):
                member.write(bytes(10**6))
        with archive.open("small.npy", "w") as member:
            np.save(member, np.ones((5, 4, 4)))
    for opener in (clips_from, ArrayClips):
        with pytest.raises(
            ValueError,
            match=r"frames of shape .* 0\.14 GiB .* budget of 0\.1 GiB; .* raise budget to 1",
        ) as told:
            opener(tmp_path / "a.npz", budget=0.1)
        one_line(told)
    assert len(clips_from(tmp_path / "a.npz", "small")) == 1  # the big one is not read for it
    given = DataOptions(str(tmp_path / "a.npz"), reading=ReadOptions(budget=0.001))
    with pytest.raises(ValueError, match=r"budget of 0\.001 GiB"):
        open_dataset(given, "train")


def test_times_and_coordinates_are_weighed_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("frames.npy", "w") as member:
            np.save(member, np.ones((5, 4, 4)))
        with archive.open("times.npy", "w", force_zip64=True) as member:
            member.write(header((3 * 10**7,), "<f4"))
            for _ in range(120):
                member.write(bytes(10**6))
    with pytest.raises(ValueError, match="budget"):
        clips_from(tmp_path / "a.npz", budget=0.1)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a\.npz"):
        clips_from(tmp_path / "a.npz")


def test_a_header_that_claims_to_be_long_is_not_read(tmp_path: Path) -> None:
    """numpy reads a header of 4 GiB before it finds it too long."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\2\0\xff\xff\xff\x0f" + bytes(2**28))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="it does not begin as a"):
        clips_from(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_slice_takes_no_more_than_the_budget(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((300, 100, 100), np.uint8))
    for options in ({}, {"coarsen": 2}):
        (clip,) = clips_from(tmp_path / "a.npy", budget=0.0005, **options)
        assert clip[:40].frames.shape[0] == 40
        with pytest.raises(
            ValueError, match=r"a stretch of 300 frames .* read fewer, or raise budget to 1"
        ) as told:
            clip[:]
        one_line(told)


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
    monkeypatch.setattr("foreframe.data.windows.raw_by_folder", lambda *_: {UNDECIDED: [endless]})
    with pytest.raises(
        ValueError, match=r"it: 9\.31e\+05 GiB of frames would be decoded into .* are free"
    ):
        Recordings(tmp_path / "a.npy", "train", Window(2, 2))
    assert not (tmp_path / "cache").exists()


# -- options that mean nothing


NAN, INFINITY = float("nan"), float("inf")
WORDS = {
    "size": [5.5, [NAN, 3], "55", [True, 3], [3], {"a": 1}, [10**30, 3], ["5", "5"]],
    "crop": [[0, 0, 3, None], [-1, 0, 3, 3], 4, [0, 0, 3, 0]],
    "coarsen": [1e9, True, "2", 0, 10**40, None],
    "every": [None, 2.0, INFINITY],
    "missing": [NAN, True, [1], "none", {}],
    "select": [{"level": None}, {"level": [1, 2]}, {"level": NAN}, [1], None],
    "variable": [3, [], ["a", 3], {"a": 1}, True],
    "colour": [["grey"], None],
    "cuts": ["yes", 1],
    "budget": [0, NAN, INFINITY, "2", True, -1],
}
OF_SPLITS = {
    "gap": [1.5, True, -1],
    "tile": ["64", 1e9, None],
    "active": [NAN, "half", True],
    "seed": [-1, 1.0],
    "shares": [[NAN] * 3, ["a", "b", "c"], 1, [2, -1, 0]],
    "by": [["time"]],
    "augment": [None],
}
MEAN_NOTHING = [
    *((ReadOptions, name, values) for name, values in WORDS.items()),
    *((SplitOptions, name, values) for name, values in OF_SPLITS.items()),
    (Window, "past", [True, 1.0, "3", None, [1], NAN, 0, 10**400]),
]


def test_options_that_mean_nothing_are_told_in_one_line() -> None:
    """In a process of its own, since in this one the tests' checker of types would refuse them
    first.
    """
    code = """
import pickle, sys
from foreframe.base.schema import typed
told = []
for kind, name, values in pickle.load(sys.stdin.buffer):
    for value in values:
        try:
            typed(kind, {name: value}, "")
            told.append((name, value, "taken"))
        except Exception as error:
            told.append((name, value, f"{type(error).__name__}: {error}"))
sys.stdout.buffer.write(pickle.dumps(told))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps(MEAN_NOTHING),
        capture_output=True,
        check=True,
    )
    told = pickle.loads(done.stdout)
    assert len(told) == sum(len(values) for _, _, values in MEAN_NOTHING)
    wrong = [
        (name, value, said)
        for name, value, said in told
        if not said.startswith("ValueError: ") or "\n" in said
    ]
    assert wrong == []
    assert [said for name, _, said in told if name not in said and "frame" not in said] == []


def test_options_that_mean_something_are_taken() -> None:
    ReadOptions(
        variable=["a", "b"],
        select={"level": 850, "name": "low", "at": np.datetime64("2020-01-01")},
        missing=-9999,
    )
    ReadOptions(missing=None, crop=[0, 0, 3, 3], size=(3, 3), every=2**31 - 1, budget=0.5)
    SplitOptions(gap=0, tile=64, active=0, shares=[1, 0, 0])


def test_moments_of_big_frames_are_those_of_small_ones() -> None:
    values = np.random.default_rng(0).normal(5, 2, (3, 1, 1500, 1000)).astype(np.float32)
    values[0, 0, :7] = np.nan
    moments = Moments().plus(values)
    assert moments.count == np.isfinite(values).sum()
    assert moments.mean == pytest.approx(np.nanmean(values, dtype=np.float64))
    assert moments.deviation == pytest.approx(np.nanstd(values, dtype=np.float64))
