"""Checkpoint files with a checksum, which shows damage, and two generations, which repair it."""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch

from foreframe.base.files import atomic_write

# The comment of torch's zip archive: the digest of all bytes before the comment's length.
SEAL = re.compile(rb"foreframe sha256 ([0-9a-f]{64})")
SEAL_LENGTH = len(b"foreframe sha256 ") + 64


def before(path: Path) -> Path:
    """Path of the previous generation: last.previous.ckpt beside last.ckpt."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write plain values and tensors with a checksum, and keep the previous file.

    Raises:
        ValueError: it cannot be written; both generations are unchanged.
    """
    content = io.BytesIO()
    # In memory first: torch reports a full disk as "unexpected pos".
    torch.save(checkpoint, content)
    end = content.seek(-2, io.SEEK_END)  # the length of the comment, none so far
    seal = b"foreframe sha256 " + hashlib.sha256(content.getbuffer()[:end]).hexdigest().encode()
    content.write(len(seal).to_bytes(2, "little") + seal)
    # A damaged checkpoint must not take the place of the good one before it.
    with atomic_write(path, keep=before(path) if is_whole(path) else None) as rough:
        rough.write_bytes(content.getbuffer())


def is_whole(path: Path) -> bool:
    """Whether a file exists, ends in a checksum that fits, and is not compressed: torch writes no
    compressed parts, and unpacked they might fill the memory.
    """
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            seal = SEAL.fullmatch(content[-SEAL_LENGTH:])
            digest = hashlib.sha256(memoryview(content)[: -SEAL_LENGTH - 2]).hexdigest()
        with zipfile.ZipFile(path) as archive:
            stored = all(part.compress_type == zipfile.ZIP_STORED for part in archive.infolist())
    except Exception:  # whatever Python's reader of archives stumbles over
        return False
    return seal is not None and seal[1] == digest.encode() and stored


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint as plain values and tensors; pickled objects raise an error.

    Raises:
        ValueError: it is cut short, damaged or not foreframe's.
    """
    checkpoint = None
    if is_whole(path):
        # torch raises errors of half a dozen types for contents that it does not load.
        with suppress(Exception):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("forecaster"), dict):
        raise ValueError(
            f"{path} cannot be read: it is no checkpoint of foreframe, or cut short or damaged; "
            "use another checkpoint of the run, or train again"
        )
    return checkpoint


def first_whole(paths: Iterable[Path]) -> tuple[Path, dict[str, Any], str]:
    """The first undamaged checkpoint of `paths`, its content, and a line about damaged ones or "".

    Raises:
        ValueError: all of them are damaged.
        FileNotFoundError: none of them exists.
    """
    found = list(filter(Path.is_file, paths))
    for k, path in enumerate(found):
        with suppress(ValueError):
            checkpoint = read_checkpoint(path)
            damaged = f"{' and '.join(map(str, found[:k]))} {'is' if k == 1 else 'are'}"
            instead = f"{path.name}, of step {checkpoint.get('global_step')}, is taken instead"
            note = f"{damaged} cut short or damaged: {instead}" if k else ""
            return path, checkpoint, note
    if not found:
        raise FileNotFoundError
    raise ValueError(
        f"{' and '.join(map(str, found))} cannot be read: cut short or damaged, and there is none "
        "before; train again"
    )
