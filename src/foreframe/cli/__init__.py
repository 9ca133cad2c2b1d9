"""The command line: a module for each verb, whose function signature defines its options.

`foreframe --help` loads only this file, and a verb's `--help` reads its signature, without torch.
"""

import ctypes
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from foreframe.base.notes import listening
from foreframe.base.processes import give_way
from foreframe.base.verbs import Verb, added_verbs
from foreframe.base.wording import closest

VERBS = {  # of the core
    "train": "train a model, or resume a training",
    "evaluate": "score a forecaster and compare it with baselines",
    "predict": "forecast the frames that follow a recording",
    "stream": "forecast after every incoming frame",
    "export": "export a forecaster as ONNX files",
    "models": "list models and presets with their sizes",
    "data": "draw generated clips; data check examines recordings",
}

READING = ("PIL", "zarr", "xarray", "numcodecs")

USAGE = """\
usage: foreframe VERB [options]

Forecast the next frames of a video or of a gridded field.

{verbs}

foreframe VERB --help explains a verb, --help-all all of its options; foreframe --version
prints the version.
"""


def verbs() -> dict[str, Verb]:
    """Return all verbs, including verbs of installed packages."""
    own = {verb: Verb(about, f"foreframe.cli.{verb}") for verb, about in VERBS.items()}
    return own | {name: verb for name, verb in added_verbs().items() if name not in own}


def module_of(verb: str) -> ModuleType:
    """Import the module of a verb.

    Raises:
        ValueError: an unknown verb, or its package cannot be imported.
    """
    if verb in VERBS:
        return import_module(f"foreframe.cli.{verb}")
    found = verbs()
    if verb not in found:
        choose = closest(verb, found) or f"choose {', '.join(found)}"
        raise ValueError(f"there is no verb {verb!r}; {choose}")
    if not found[verb].command:
        raise ValueError(found[verb].about)
    return import_module(found[verb].command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb, and return the exit code: 0 done; 1 unexpected error; 2 bad input, explained in a
    line; 130 interrupted, and saved. FOREFRAME_DEBUG=1 shows the traceback of an error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        lines = "\n".join(f"  {name:<12}{verb.about}" for name, verb in verbs().items())
        print(USAGE.format(verbs=lines), end="")
        return 0
    if words[0] in ("--version", "-V"):
        from foreframe import __version__

        print(f"foreframe {__version__}")
        return 0
    verb, *rest = words
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # for modules of the user, as in `python -m`
    try:
        with warnings.catch_warnings(), listening(_note, python=False):
            for library in READING:  # foreframe reports faults of a file itself
                warnings.filterwarnings("ignore", module=rf"{library}\.")
            if not set(rest) & {"-h", "--help", "--help-all"}:
                keep_memory()
            module = module_of(verb)
            run = getattr(module, "main", None) or module.parser().run
            return run(rest) or 0
    except SystemExit:  # after the help
        return 0
    except KeyboardInterrupt as stop:
        give_way()
        print(f"\nforeframe: {stop if stop.args else 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed, as in `foreframe models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("FOREFRAME_DEBUG"):
            raise
        message = str(error).strip()
        # A loader's worker process wraps its error, which is the last line.
        if "Original Traceback" in message:
            message = message.splitlines()[-1].partition(": ")[2]
        message = " ".join(message.split())
        if isinstance(error, ValueError | OSError | MemoryError):
            return _fail(message or type(error).__name__)
        # A bug here, or in a user's Dataset.
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename}, line {last.lineno} (FOREFRAME_DEBUG=1 shows all)"
        _fail(f"unexpected {type(error).__name__}: {message}, in {where}")
        return 1


def keep_memory() -> None:
    """Keep freed memory in this process, for the next step of a training (glibc only).

    Otherwise the system allocates every large tensor on a CPU anew, which clears its pages. Other
    processes cannot use the kept memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: large tensors come from the heap, too
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap never shrinks
        mallopt(-2, 2**26)  # M_TOP_PAD: it grows by 64 MiB


def _note(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes
        print(f"foreframe: note: {' '.join(message.split())}", file=sys.stderr)


def _fail(message: str) -> int:
    give_way()
    print(f"foreframe: {message}", file=sys.stderr)
    return 2
