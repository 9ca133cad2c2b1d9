"""Files are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes `path`'s place when the block ends well and vanishes when it does not.

    So a full disk or Ctrl-C leaves the old file, or none, but never half of one. Parent folders are made, and stay if it does.

    Raises:
        ValueError: when the folder cannot be made or written to.
    """
    path = Path(path)
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {path.parent}: {error.strerror or error}") from None
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file")
    # The suffix stays last, since writers choose their format by it.
    rough = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield rough
        os.replace(rough, path)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            rough.unlink(missing_ok=True)
        for folder in made:  # those that hold something, such as the file, stay
            with suppress(OSError):
                folder.rmdir()


def check_writable(path: str | Path) -> None:
    """Find out, before hours of work, whether a folder can be made and written to; the trial leaves nothing behind.

    Raises:
        ValueError: it cannot be made or written to.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    trial = path / f".try.{os.getpid()}"
    try:
        with atomic_write(trial) as rough:
            rough.touch()
    except ValueError as error:
        raise ValueError(str(error).replace(str(trial), f"to the folder {path}")) from None
    finally:
        with suppress(OSError):  # the last ones are not there where the first could not be made
            trial.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
