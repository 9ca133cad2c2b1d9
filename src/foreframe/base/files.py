"""Files are written whole or not at all."""

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

# Files that are being written: hidden, with names that nobody can foresee or gives otherwise.
TEMPORARY = re.compile(r"\.foreframe-[0-9a-f]{16}\.part(\.\w+)?")
# Seconds: where files cannot be locked, only their age tells that nobody writes them any more.
ABANDONED = 24 * 3600


def exists(path: str | Path) -> bool:
    """Whether a file or folder exists; a name that no file can have is that of none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def check_source(source: str) -> None:
    """Refuse to read what does not exist, before anything heavy is loaded.

    Args:
        source: a file, a folder, a URL, or "-", which is standard input.

    Raises:
        ValueError: no such file or folder.
    """
    if source != "-" and "://" not in source and not exists(source):
        raise ValueError(f"there is no file or folder {source}")


@contextmanager
def atomic_write(path: str | Path, keep: str | Path | None = None) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` when the block ends without error.

    So a full disk, Ctrl-C or a loss of power leaves the old file, or none, but never half a file:
    the content is on the disk before it replaces anything. Parent folders are created, and removed
    again if the block fails. The temporary file is always a new one, never a link that somebody
    else put there; those of killed processes are removed by the next that writes into the folder.

    Args:
        path: the file.
        keep: another name under which the file that is replaced is kept.

    Raises:
        ValueError: when the folder cannot be created or written to.
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
    """As `atomic_write`, for a folder: give a new one to fill, which then replaces `path`.

    Two folders cannot be exchanged in one operation: after a kill in between, the old folder lies
    beside `path`, with `.foreframe-old-` before its name, and comes back when `path` is written the
    next time.

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
    """Check, before hours of work, that a folder can be created and written to; nothing is left.

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
    """Create the folders above `path`; those that are empty at the end are removed again."""
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
    """A new file, locked until it is closed; `os.open` refuses a name that exists, links too."""
    sweep(folder)
    while True:
        path = _unforeseen(folder, suffix)
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
        path = _unforeseen(folder, suffix)
        path.mkdir()
        if sys.platform == "win32":
            return path, None
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        if _lock(lock):
            return path, lock
        os.close(lock)


def _unforeseen(folder: Path, suffix: str) -> Path:
    suffix = suffix if suffix[1:].isidentifier() else ""
    return folder / f".foreframe-{secrets.token_hex(8)}.part{suffix}"


def _lock(file: int) -> bool:
    """Whether this process has locked the open file, and no sweep has removed it before that."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks, where leftovers are swept by their age
        return True
    return os.fstat(file).st_nlink > 0


def _close(lock: int | None) -> None:
    if lock is not None:
        with suppress(OSError):
            os.close(lock)


@lru_cache(maxsize=64)
def sweep(folder: Path) -> None:
    """Remove temporary files and folders of killed processes in `folder`, once a process.

    They are known by their names, and by their locks, which the system releases when a process
    dies, however that happens.
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
    """Wait until a file or folder is on the disk, not only in the system's memory."""
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
    """Give the file at `path` a second name, which its former file loses only then."""
    link = _unforeseen(path.parent, path.suffix)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        os.replace(path, name)
        return
    try:
        os.replace(link, name)
    finally:
        # Where both names are of one file already, the rename does nothing, and leaves the link.
        link.unlink(missing_ok=True)


class RunLock:
    """A lock on a folder that ends with the process that took it, and not with a file's removal.

    It is a record lock (`lockf`), which child processes do not inherit: loader workers outlive a
    killed training by some seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: Any = None

    def acquire(self) -> bool:
        """Whether this process has the lock now; True too where files cannot be locked."""
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
            self._file.close()  # its owner has just removed it: try again with a new file

    def release(self) -> None:
        if self._file is not None:
            # Meanwhile the folder may have been removed, and be another run's.
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                    self.path.unlink()
            self._file.close()
            self._file = None
