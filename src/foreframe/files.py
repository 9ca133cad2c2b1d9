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

# What is not whole yet: hidden, of a name that nobody can foresee, and that no writer but this one
# gives.
TEMPORARY = re.compile(r"\.foreframe-[0-9a-f]{16}\.part(\.\w+)?")
# Where files cannot be locked, only their age tells that nobody writes them any more.
FOR_A_DAY = 24 * 3600


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
    """Give a path beside `path` to write to; it takes `path`'s place when the block ends well and
    vanishes when it does not.

    So a full disk, Ctrl-C or a loss of power leaves the old file, or none, but never half of one:
    what was written is on the disk before it takes the place. Parent folders are made, and stay if
    it does. The temporary file is a new one, never a link that somebody else laid there; what a
    killed process left of its own is removed by the next one that writes into the folder.

    Args:
        path: the file.
        keep: where the file that lay there before goes on living, if there was one.

    Raises:
        ValueError: when the folder cannot be made or written to.
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
    """As `atomic_write`, for a folder: give a new one beside `path` to fill; it takes the place of
    what lies there.

    Two folders cannot change places in one go: killed in between, the old one is beside its place
    under the name that `path` has with `.foreframe-old-` before it, and comes back when `path` is
    written the next time.

    Raises:
        ValueError: `path` is a file, or the folder cannot be made or written to.
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
    """Find out, before hours of work, whether a folder can be made and written to; the trial leaves
    nothing behind.

    Raises:
        ValueError: it cannot be made or written to.
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
    """The folders above `path` are made; those that hold nothing at the end are gone again."""
    made = [folder for folder in path.parents if not folder.exists()]
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
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def _new_file(folder: Path, suffix: str) -> tuple[Path, int | None]:
    """A new file that is locked for as long as this process lives; `os.open` refuses whatever lies
    there, links too.
    """
    sweep(folder)
    while True:
        path = _unforeseen(folder, suffix)
        lock = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666
        )
        if _lock(lock):
            return path, lock
        os.close(lock)
        if sys.platform == "win32":  # which neither locks it so nor renames an open file
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
    return (
        folder
        / f".foreframe-{secrets.token_hex(8)}.part{suffix if suffix[1:].isidentifier() else ''}"
    )


def _lock(file: int) -> bool:
    """Whether this process has the open file to itself, and it still lies in its folder: somebody
    who sweeps may be quicker.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: what is left there is swept by its age
        return True
    return os.fstat(file).st_nlink > 0


def _close(lock: int | None) -> None:
    if lock is not None:
        with suppress(OSError):
            os.close(lock)


@lru_cache(maxsize=64)
def sweep(folder: Path) -> None:
    """Remove what killed processes left of temporary files and folders in `folder`; each folder is
    looked through once.

    Such a one is known by its name, and by its lock: the system lets go of it when a process dies,
    however that comes about.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if TEMPORARY.fullmatch(entry.name) and not entry.is_symlink():
                with suppress(OSError):
                    _remove_abandoned(Path(entry.path), entry.is_dir(follow_symlinks=False))


def _remove_abandoned(path: Path, is_folder: bool) -> None:
    if sys.platform == "win32":
        free = time.time() - path.stat().st_mtime > FOR_A_DAY
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
            free = time.time() - os.fstat(lock).st_mtime > FOR_A_DAY
    try:
        if free and is_folder:
            shutil.rmtree(path, ignore_errors=True)
        elif free:
            path.unlink()
    finally:
        _close(lock)


def _sync(path: Path) -> None:
    """What was written lies on the disk, not only in the system's memory, before anything else
    happens.
    """
    if path.is_dir():
        if sys.platform == "win32":
            return
        flags = os.O_RDONLY
    else:
        flags = os.O_RDWR
    file = os.open(path, flags)
    try:
        os.fsync(file)
    except OSError as error:
        if not path.is_dir():
            raise OSError(error.errno, error.strerror) from error
    finally:
        os.close(file)


def _keep(path: Path, as_: Path) -> None:
    """A second name for the file at `path`, in place of what was called so: at no moment is there
    less than one of them.
    """
    link = _unforeseen(path.parent, path.suffix)
    try:
        os.link(path, link)
    except OSError:  # a file system without second names
        os.replace(path, as_)
        return
    try:
        os.replace(link, as_)
    finally:
        # Where both are one file already, the rename does nothing, and leaves the link.
        link.unlink(missing_ok=True)


class RunLock:
    """A lock on a folder that lasts as long as the process that took it, and not as long as a file:
    a dead process holds none.

    A record lock (`lockf`), which child processes do not inherit: loader workers outlive a killed
    training by some seconds.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._file: Any = None

    def take(self) -> bool:
        """Whether it is this process's now; True too where files cannot be locked."""
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
            self._file.close()  # whoever had it has removed it just now: try again with a new one

    def give(self) -> None:
        if self._file is not None:
            # The folder may have gone meanwhile, and be somebody else's run by now.
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                    self.path.unlink()
            self._file.close()
            self._file = None
