"""Files written whole or not at all: what a link, a kill and a full disk do to them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from foreframe.base.files import TEMPORARY, RunLock, atomic_folder, atomic_write


def in_process(code: str) -> subprocess.Popen:
    """A process of its own that runs `code`, which prints a line when it has come so far."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "here\n"
    return process


WRITING = """
import sys, time
from foreframe.base.files import atomic_folder, atomic_write
with {what}({path!r}) as rough:
    (rough / "part.txt" if rough.is_dir() else rough).write_text("half")
    print("here", flush=True)
    time.sleep(60)
"""


def test_temporary_names_cannot_be_foreseen_and_a_new_file_has_ordinary_rights(tmp_path) -> None:
    names = set()
    old = os.umask(0o027)
    try:
        for _ in range(3):
            with atomic_write(tmp_path / "a.png") as rough:
                names.add(rough.name)
                assert TEMPORARY.fullmatch(rough.name)
                assert rough.suffix == ".png"  # writers choose their format by it
                rough.write_text("whole")
    finally:
        os.umask(old)
    assert len(names) == 3
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("what", ["atomic_write", "atomic_folder"])
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path, what: str
) -> None:
    dead = in_process(WRITING.format(what=what, path=str(tmp_path / "a.zarr")))
    dead.kill()
    dead.wait()
    (left,) = tmp_path.iterdir()
    os.utime(left, (0, 0))  # one that was just created may not be locked yet, and stays
    living = in_process(WRITING.format(what=what, path=str(tmp_path / "b.zarr")))
    (kept,) = tmp_path.iterdir()  # the living one has swept what the dead one left
    strange = tmp_path / ".foreframe-mine.part"
    strange.write_text("of somebody else")
    with atomic_write(tmp_path / "c.txt") as rough:
        rough.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, strange.name, "c.txt"}
    living.kill()
    living.wait()


def test_what_is_written_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch) -> None:
    happened = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda file: (happened.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)),
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (happened.append("renamed"), replace(a, b)))
    with atomic_write(tmp_path / "a.txt") as rough:
        rough.write_text("whole")
    assert happened == [str(rough), "renamed", str(tmp_path)]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "store.zarr"
    with atomic_folder(path) as rough:
        (rough / "a").write_text("old")

    def fails() -> None:
        with atomic_folder(path) as rough:
            (rough / "a").write_text("new")
            raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match=r"cannot write .*store.zarr: No space left"):
        fails()
    assert (path / "a").read_text() == "old"
    with atomic_folder(path) as rough:
        (rough / "a").write_text("new")
    assert (path / "a").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["store.zarr"]


def test_a_device_is_not_replaced(tmp_path) -> None:
    with (
        pytest.raises(ValueError, match="device or a pipe; name a file"),
        atomic_write("/dev/null"),
    ):
        pass
    assert Path("/dev/null").is_char_device()


def test_a_lock_ends_with_the_process_that_took_it_whatever_children_it_had(tmp_path) -> None:
    code = f"""
import os, time
from pathlib import Path
from foreframe.base.files import RunLock
lock = RunLock(Path({str(tmp_path)!r}))
assert lock.acquire()
if os.fork() == 0:
    time.sleep(3)
    os._exit(0)
print("here", flush=True)
time.sleep(60)
"""
    holder = in_process(code)
    lock = RunLock(tmp_path)
    assert not lock.acquire()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert lock.acquire()  # though its child, as a loader's worker, lives on for some seconds
    lock.release()
    assert list(tmp_path.iterdir()) == []


WITHOUT_LOCKS = """
import os, sys
from pathlib import Path
sys.modules["fcntl"] = None
for name in ("O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
opened = os.open
def of_windows(path, flags, mode=0o777):
    if Path(path).is_dir():
        raise PermissionError(13, "Permission denied")
    return opened(path, flags, mode)
os.open = of_windows
from foreframe.base.files import RunLock, atomic_folder, atomic_write
with atomic_write("new/a.txt") as rough:
    rough.write_text("whole")
with atomic_folder("folder") as rough:
    (rough / "b.txt").write_text("whole")
lock = RunLock(Path("folder"))
print(lock.acquire(), sorted(map(str, Path().rglob("*.txt"))), *Path().rglob(".*"))
lock.release()
"""


def test_files_are_written_where_nothing_can_be_locked(tmp_path) -> None:
    """On Windows, of which this has what Python lacks there: fcntl, flags, folders opened."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCKS], cwd=tmp_path, capture_output=True, text=True
    )
    names = [str(Path("folder", "b.txt")), str(Path("new", "a.txt"))]
    assert (done.stdout, done.stderr) == (f"True {names}\n", "")
