"""Paths, atomic writes of files and folders, and locks."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: no locks, and files of killed processes stay
    fcntl = None  # type: ignore[assignment]

# Files being written: hidden, with unpredictable names that nothing else uses.
TEMPORARY = re.compile(r"\.foreframe-[0-9a-f]{16}\.part(\.\w+)?")
# This process alone, without waiting for another.
AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB if fcntl else 0


def exists(path: str | Path) -> bool:
    """Whether a file or folder exists; False for invalid names."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def cache() -> Path:
    """Return the folder of data that can be computed or downloaded again."""
    return Path(os.environ.get("FOREFRAME_CACHE", Path.home() / ".cache" / "foreframe"))


def matching(source: Any) -> list[Any]:
    """Return the files of a source: a list of sources, or a pattern such as `rain/*.nc`, with files
    sorted by name.

    Raises:
        ValueError: no file matches.
    """
    if isinstance(source, list | tuple):
        return [one for each in source for one in matching(each)]
    if not isinstance(source, str) or not has_magic(source) or "://" in source or exists(source):
        return [source]
    found = sorted(glob(source, recursive=True))
    if not found:
        raise ValueError(f"no file matches {source}")
    return found


def check_source(source: str | list[str]) -> None:
    """Check that a source exists, before torch is loaded.

    Args:
        source: a file, a folder, a URL, "-" for standard input, or an argument of `matching`.

    Raises:
        ValueError: no such file or folder.
    """
    for path in matching(source):
        if path != "-" and "://" not in path and not exists(path):
            raise ValueError(f"there is no file or folder {path}")


@contextmanager
def atomic_write(path: str | Path, keep: str | Path | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block ends without error.

    After a full disk, Ctrl-C or a loss of power the old file or no file remains, never a partial
    one: the content is synced before the rename. Parent folders are created, and removed if the
    block fails. The temporary file is always new, never an existing link. The next write to the
    folder removes temporary files of killed processes.

    Args:
        path: the file.
        keep: another name that keeps the replaced file.

    Raises:
        ValueError: the folder cannot be created or written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a folder, a device or a pipe; name a file")
    # The suffix stays last, since writers choose their format by it.
    with temporary(path.parent, f"{path}", path.suffix) as rough:
        yield rough
        _sync(rough)
        if keep is not None and path.exists():
            _keep(path, Path(keep))
        os.replace(rough, path)
        _sync(path.parent)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic_write`, for a folder: yield a new one to fill, which then replaces `path`.

    Two folders cannot be exchanged atomically: after a kill in between, the old folder is named
    `.foreframe-old-NAME`.

    Raises:
        ValueError: `path` is a file, or the folder cannot be created or written to.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; name a folder")
    old = path.with_name(f".foreframe-old-{path.name}")
    with temporary(path.parent, f"{path}", path.suffix, Path.mkdir) as rough:
        yield rough
        for inner in (*rough.rglob("*"), rough):
            _sync(inner)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(rough, path)
        _sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def check_new(folder: str | Path) -> None:
    """Check that an output is a new or an empty folder.

    Raises:
        ValueError: it is a file, or not empty.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"output {folder} exists: name a new folder")


def check_writable(path: str | Path) -> None:
    """Check early that a folder can be created and written to; leaves no trace.

    Raises:
        ValueError: it cannot be created or written to.
    """
    with temporary(Path(path), f"to the folder {path}") as trial:
        trial.write_bytes(b"trial")


def _new_file(path: Path) -> None:
    """Create a file; fails for existing names and links."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


@contextmanager
def temporary(
    folder: Path, what: str, suffix: str = "", create: Callable[[Path], None] = _new_file
) -> Iterator[Path]:
    """Yield a new file or folder in `folder`, and remove it at the end unless the block has moved
    it. A lock distinguishes it from leftovers of killed processes.

    Raises:
        ValueError: an OSError, also of the block: `what` cannot be written.
    """
    created = [parent for parent in (folder, *folder.parents) if not exists(parent)]
    try:
        if not folder.is_dir():
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(f"cannot make the folder {folder}: {reason}") from None
        sweep(folder)
        suffix = suffix if suffix[1:].isidentifier() else ""
        path = folder / f".foreframe-{secrets.token_hex(8)}.part{suffix}"
        lock = _locked(path, create)
        try:
            yield path
        finally:
            if lock is not None:
                os.close(lock)
            _remove(path)
    except OSError as error:
        raise ValueError(f"cannot write {what}: {error.strerror or error}") from error
    finally:
        for parent in created:
            with suppress(OSError):
                parent.rmdir()


def _locked(path: Path, create: Callable[[Path], None]) -> int | None:
    """Create a file or folder and lock it; try again if another process removed it in between."""
    while True:
        create(path)
        if fcntl is None:
            return None
        with suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: leftovers stay
                fcntl.flock(lock, AT_ONCE)
            if path.exists():
                return lock
            os.close(lock)


@lru_cache(maxsize=64)
def sweep(folder: Path) -> None:
    """Remove temporary files and folders of killed processes in `folder`, once per process.

    Their names and locks identify them: the system releases locks when a process ends.
    """
    for path in folder.glob(".foreframe-*") if fcntl else ():
        with suppress(OSError):  # in use, a link, or gone
            if TEMPORARY.fullmatch(path.name):
                lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(lock, AT_ONCE)
                    _remove(path)
                finally:
                    os.close(lock)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def also_named(path: Path, name: Path) -> None:
    """Atomically give a file a second name, which may exist.

    Raises:
        ValueError: the name cannot be written.
    """
    with atomic_write(name) as rough:
        _keep(path, rough)


def _keep(path: Path, name: Path) -> None:
    """Give the file at `path` a second name."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, name)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; on Windows only files, which must be open for writing."""
    if fcntl is None and path.is_dir():
        return
    file = os.open(path, os.O_RDONLY if fcntl else os.O_RDWR)
    try:
        os.fsync(file)
    except OSError:
        if not path.is_dir():  # some file systems cannot flush folders
            raise
    finally:
        os.close(file)


class RunLock:
    """A lock on a folder, released when its process ends.

    A record lock (`lockf`), which child processes do not inherit: loader workers outlive a killed
    training by some seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False if another process holds it. True on systems without locks."""
        while fcntl:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.lockf(file, AT_ONCE)
            except BlockingIOError:
                os.close(file)
                return False
            except OSError:
                pass
            if os.fstat(file).st_nlink:
                self._file = file
                return True
            os.close(file)  # just removed by its owner: try again with a new file
        return True

    def release(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self.path.unlink()
            os.close(self._file)
            self._file = None
