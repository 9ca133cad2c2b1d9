"""Files are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes `path`'s place when the block ends well and vanishes when it does not.

    So a full disk or Ctrl-C leaves the old file, or none, but never half of one. Parent folders are made.

    Raises:
        ValueError: when the folder cannot be made or written to.
    """
    path = Path(path)
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


def writable_folder(path: str | Path) -> None:
    """Make a folder to write to, or say why that cannot be.

    Raises:
        ValueError: it cannot be made or written to.
    """
    with whole_file(Path(path) / ".try") as rough:
        rough.touch()
    (Path(path) / ".try").unlink()
