"""What the process of an upload may do, tried in one."""

import errno
import mmap
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from foreframe.addons.serve.confinement import confine, landlock_version
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.server import serve
from foreframe.base.notes import listening

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Linux confines"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),  # the fork's, of torch
]
landlock = pytest.mark.skipif(landlock_version() < 4, reason="this kernel has no Landlock")


def tried(act: Callable[[], object], folder: Path, seconds: int = 5) -> int:
    """How a confined process ends that does this: 0, the number of its OSError, or -signal."""
    if (child := os.fork()) == 0:
        try:
            confine(folder, 2**28, seconds)
            act()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        except MemoryError:
            os._exit(errno.ENOMEM)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_own_folder_is_read_and_written(tmp_path: Path) -> None:
    def act() -> None:
        assert tempfile.gettempdir() == str(tmp_path)
        (tmp_path / "inner").mkdir()
        (tmp_path / "a").write_text("a")
        (tmp_path / "a").rename(tmp_path / "inner" / "b")
        assert (tmp_path / "inner" / "b").read_text() == "a"
        import lzma  # a library that is loaded late

        assert lzma.decompress(lzma.compress(b"a")) == b"a"

    assert tried(act, tmp_path) == 0


@landlock
@pytest.mark.parametrize("name", ["read", "list", "write", "link", "run"])
def test_nothing_else_is(name: str, tmp_path: Path) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (other / "secret").write_text("secret")
    (own / "link").symlink_to(other / "secret")
    acts: dict[str, Callable[[], object]] = {
        "read": (other / "secret").read_text,
        "list": lambda: os.listdir(other),
        "write": lambda: (other / "new").write_text("new"),
        "link": (own / "link").read_text,
        "run": lambda: subprocess.run([sys.executable, "--version"]),
    }
    assert tried(acts[name], own) == errno.EACCES
    assert not (other / "new").exists()


def test_a_server_that_cannot_confine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, said in ((0, ["Landlock"]), (6, [])):
        monkeypatch.setattr(
            "foreframe.addons.serve.server.landlock_version", lambda version=version: version
        )
        notes: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as taken, listening(notes.append):
            port = taken.getsockname()[1]
            with pytest.raises(ValueError, match="cannot listen"):
                serve(["persistence"], ServeOptions(port=port))
        assert [word for word in ("Landlock",) for note in notes if word in note] == said


@landlock
def test_no_connection_is_opened(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert tried(lambda: socket.create_connection(address), tmp_path) == errno.EACCES


def test_memory_files_and_seconds_end(tmp_path: Path) -> None:
    def endless() -> None:
        while True:
            pass

    # Memory of the system: an array may take what the process has freed.
    assert tried(lambda: mmap.mmap(-1, 2**27), tmp_path) == 0
    assert tried(lambda: mmap.mmap(-1, 2**29), tmp_path) == errno.ENOMEM
    large = tmp_path / "large"
    assert tried(lambda: os.truncate(large, 2**29), tmp_path) == errno.ENOENT
    large.touch()
    assert tried(lambda: os.truncate(large, 2**29), tmp_path) == errno.EFBIG
    assert tried(endless, tmp_path, seconds=1) < 0
