"""Folders on the Hugging Face Hub, hf://USER/NAME or hf://USER/NAME@REVISION: safetensors only.

The network is used for nothing but these names.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foreframe.base.extras import needed
from foreframe.base.wording import described

HUB = "hf://"
MAIN = "main"
FILES = ("config.json", "model.safetensors", "README.md", "calibration.json")  # and no others


def repository_of(name: str) -> tuple[str, str]:
    """USER/NAME, and the revision (a branch, a tag or a commit), of a name of the Hub.

    Raises:
        ValueError: another form.
    """
    repository, _, revision = name.removeprefix(HUB).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{name} is no name of the Hub: {HUB}USER/NAME or {HUB}USER/NAME@REVISION")
    return repository, revision or MAIN


def client(name: str) -> Any:
    """The client of huggingface_hub, after a check of the name; asks nothing yet.

    Raises:
        ValueError: no such name, or the package is missing.
    """
    repository_of(name)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # whose warnings are raised here
    return needed("huggingface_hub", "hub", name).HfApi(library_name="foreframe")


def downloaded(name: str) -> Path:
    """The folder that a name of the Hub stands for, in the cache of huggingface_hub, which also
    serves where there is no network.

    Raises:
        ValueError: as `client`; the Hub or the repository cannot be reached; it has no weights in
            safetensors.
    """
    hub, (repository, revision) = client(name), repository_of(name)
    with _explained(name):
        folder = hub.snapshot_download(repository, revision=revision, allow_patterns=FILES)
    for file in FILES[:2]:
        if not Path(folder, file).is_file():
            raise ValueError(
                f"{name} has no {file}: it is not what `push_to_hub` writes, and other files, such "
                "as pickled weights, are never opened"
            )
    return Path(folder)


def upload(folder: Path, name: str, message: str, private: bool | None) -> str:
    """Commit a folder's files to a repository, which is created if it does not exist.

    Args:
        name: of the Hub; its revision is a branch.
        message: of the commit.
        private: of a new repository; None is what the account says.

    Returns:
        The address of the commit.

    Raises:
        ValueError: as `client`; the Hub cannot be reached, or refuses.
    """
    hub, (repository, revision) = client(name), repository_of(name)
    with _explained(name):
        hub.create_repo(repository, private=private, exist_ok=True)
        if revision != MAIN:
            hub.create_branch(repository, branch=revision, exist_ok=True)
        how = {"revision": revision, "commit_message": message}
        return str(hub.upload_folder(repo_id=repository, folder_path=folder, **how).commit_url)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Errors of the Hub in a line.

    Raises:
        ValueError: in place of any error.
    """
    try:
        yield
    except Exception as error:  # of huggingface_hub or its HTTP library
        why = f"cannot be reached: {described(error)}"
        if getattr(getattr(error, "response", None), "status_code", 0) in (401, 403, 404):
            why = (
                "is not there, or not for you: check its name and revision; for what is private or "
                "gated, and to upload, give a token, by `hf auth login` or HF_TOKEN"
            )
        raise ValueError(f"{name} {why}") from error
