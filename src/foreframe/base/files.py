"""Atomic writes: files are written whole or not at all."""

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

# Files being written: hidden, with unpredictable names that nothing else uses.
TEMPORARY = re.compile(r"\.foreframe-[0-9a-f]{16}\.part(\.\w+)?")
# Seconds: without file locks, only its age shows that a temporary file is abandoned.
ABANDONED = 24 * 3600


def exists(path: str | Path) -> bool:
    """Whether a file or folder exists; False for invalid names."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def check_source(source: str) -> None:
    """Refuse a source that does not exist, before torch is loaded.

    Args:
        source: a file, a folder, a URL, or "-" for standard input.

    Raises:
        ValueError: no such file or folder.
    """
    if source != "-" and "://" not in source and not exists(source):
        raise ValueError(f"there is no file or folder {source}")


@contextmanager
def atomic_write(path: str | Path, keep: str | Path | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block ends without error.

    After a full disk, Ctrl-C or a loss of power there is the old file or none, never a partial one:
    the content is synced before the rename. Parent folders are created, and removed if the block
    fails. The temporary file is always new, never an existing link; those of killed processes are
    removed by the next write to the folder.

    Args:
        path: the file.
        keep: another name that keeps the replaced file.

    Raises:
        ValueError: the folder cannot be created or written to.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a device or a pipe; name a file")
    with _parents(path):
        try:
            # The suffix stays last, since writers choose their format by it.
            rough, lock = _new_file(path.parent, path.suffix)
            try:
                yield rough
                _sync(rough)
                if keep is not None and path.exists():
                    _keep(path, Path(keep))
                os.replace(rough, path)
                _sync(path.parent)
            finally:
                _close(lock)
                with suppress(OSError):
                    rough.unlink(missing_ok=True)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic_write`, for a folder: yield a new one to fill, which then replaces `path`.

    Two folders cannot be exchanged atomically: after a kill in between, the old folder lies beside
    `path` as `.foreframe-old-NAME` and is restored by the next write to `path`.

    Raises:
        ValueError: `path` is a file, or the folder cannot be created or written to.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; name a folder")
    old = path.with_name(f".foreframe-old-{path.name}")
    with _parents(path):
        try:
            rough, lock = _new_folder(path.parent, path.suffix)
            try:
                if old.is_dir() and not old.is_symlink():
                    if path.exists():
                        shutil.rmtree(old)
                    else:
                        os.replace(old, path)
                yield rough
                for folder, _, names in os.walk(rough, topdown=False):
                    for name in names:
                        _sync(Path(folder, name))
                    _sync(Path(folder))
                if path.exists():
                    os.replace(path, old)
                try:
                    os.replace(rough, path)
                except BaseException:
                    with suppress(OSError):
                        os.replace(old, path)
                    raise
                _sync(path.parent)
            finally:
                _close(lock)
                shutil.rmtree(rough, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


def check_writable(path: str | Path) -> None:
    """Check early that a folder can be created and written to; leaves no trace.

    Raises:
        ValueError: it cannot be created or written to.
    """
    path = Path(path)
    with _parents(path / "trial"):
        try:
            trial, lock = _new_file(path, "")
            try:
                trial.write_bytes(b"trial")
            finally:
                _close(lock)
                trial.unlink(missing_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot write to the folder {path}: {error.strerror or error}"
            ) from error


@contextmanager
def _parents(path: Path) -> Iterator[None]:
    """Create the folders above `path`; remove those that are empty at the end."""
    created = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cannot make the folder {path.parent}: {error.strerror or error}"
            ) from None
        yield
    finally:
        for folder in created:
            with suppress(OSError):
                folder.rmdir()


def _new_file(folder: Path, suffix: str) -> tuple[Path, int | None]:
    """A new file, locked until it is closed; existing names and links are refused."""
    sweep(folder)
    while True:
        path = _temporary(folder, suffix)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        lock = os.open(path, flags, 0o666)
        if _lock(lock):
            return path, lock
        os.close(lock)
        if sys.platform == "win32":  # neither locks files this way nor renames open ones
            return path, None


def _new_folder(folder: Path, suffix: str) -> tuple[Path, int | None]:
    sweep(folder)
    while True:
        path = _temporary(folder, suffix)
        path.mkdir()
        if sys.platform == "win32":
            return path, None
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        if _lock(lock):
            return path, lock
        os.close(lock)


def _temporary(folder: Path, suffix: str) -> Path:
    suffix = suffix if suffix[1:].isidentifier() else ""
    return folder / f".foreframe-{secrets.token_hex(8)}.part{suffix}"


def _lock(file: int) -> bool:
    """Lock an open file; False if another process holds it or has removed it."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: leftovers are removed by age
        return True
    return os.fstat(file).st_nlink > 0


def _close(lock: int | None) -> None:
    if lock is not None:
        with suppress(OSError):
            os.close(lock)


@lru_cache(maxsize=64)
def sweep(folder: Path) -> None:
    """Remove temporary files and folders of killed processes in `folder`, once per process.

    They are recognized by name, and by their locks, which the system releases when a process ends.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if TEMPORARY.fullmatch(entry.name) and not entry.is_symlink():
                with suppress(OSError):
                    _remove_abandoned(Path(entry.path), entry.is_dir(follow_symlinks=False))


def _remove_abandoned(path: Path, is_folder: bool) -> None:
    if sys.platform == "win32":
        free = time.time() - path.stat().st_mtime > ABANDONED
        lock = None
    else:
        import fcntl

        lock = os.open(path, (os.O_RDONLY if is_folder else os.O_RDWR) | os.O_NOFOLLOW)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        except OSError:
            free = time.time() - os.fstat(lock).st_mtime > ABANDONED
    try:
        if free and is_folder:
            shutil.rmtree(path, ignore_errors=True)
        elif free:
            path.unlink()
    finally:
        _close(lock)


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return
    file = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as error:
        if not is_folder:
            raise OSError(error.errno, error.strerror) from error
    finally:
        os.close(file)


def _keep(path: Path, name: Path) -> None:
    """Give the file at `path` a second name, in an atomic replacement."""
    link = _temporary(path.parent, path.suffix)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        os.replace(path, name)
        return
    try:
        os.replace(link, name)
    finally:
        # If both names are the same file already, the rename does nothing and leaves the link.
        link.unlink(missing_ok=True)


class RunLock:
    """A lock on a folder, released when its process ends.

    A record lock (`lockf`), which child processes do not inherit: loader workers outlive a killed
    training by some seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: Any = None

    def acquire(self) -> bool:
        """Take the lock; False if another process holds it. True on systems without locks."""
        if sys.platform == "win32":
            return True
        import fcntl

        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(self.path, flags, 0o666), "r+b", buffering=0)
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.close()
                return False
            except OSError:
                return True
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                    return True
            self._file.close()  # just removed by its owner: try again with a new file

    def release(self) -> None:
        if self._file is not None:
            # The folder may have been replaced by another run's.
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                    self.path.unlink()
            self._file.close()
            self._file = None
