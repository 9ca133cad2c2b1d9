"""README and docs run, from top to bottom: their Python, their commands, the examples' scripts.

Every block is run, and every complete command in the running text, each page in its own order, in a
folder that holds what the reader would have. A block that is not run says why in a comment before
it:

    <!-- not run: the reason -->

What takes hours is made short by one rule for all commands (`fewer.py`).
"""

import inspect
import json
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import foreframe
import standins
from fewer import fewer, fewer_in_python, write_shims
from foreframe.base.notes import Note
from foreframe.base.schema import check_types, converted, parameters, type_hints
from foreframe.cli import main, module_of, verbs
from foreframe.models import build_model
from foreframe.training.options import GROUPS
from foreframe.training.recipes import recipes
from programs import printed_by
from refusals import parse
from small import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "reference").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
# Records of what was measured: their links are checked, and their commands are not run again.
REPORTS = sorted((ROOT / "docs" / "reports").glob("*.md"))
LLMS = str(ROOT / ".ci" / "llms.py")
CALLED = Path("called.jsonl")  # by a script, in the reader's folder
LONG = (
    "examples.md",
    "datasets.md",
    "radar.md",
    "scale.md",
    "tutorial.md",
)  # long ones: `make test-full` runs them
SHOWN = ("text", "yaml", "toml")  # blocks that show something, and hold nothing to run

# What the reader names, or has: words in capitals, and files.
NAMES = {"RUN": "runs/demo", "CONFIG": "quick", "FOLDER_OF_ARCHIVES": "archives"}


FILES: dict[str, Callable[[Path], None]] = {
    "clip.npy": lambda path: standins.array(path, frames=10, height=64, width=64),
    "film.mp4": lambda path: standins.film(path, frames=320),
    "rain.nc": lambda path: standins.rain(path, frames=320),
    "mine.npy": lambda path: standins.array(path, frames=320),
    "archives": standins.radar_archives,
    "vtest.avi": lambda path: standins.film(path, frames=720, height=24, width=32),
    "weather.nc": standins.weather,
    "era5_t2m.nc": lambda path: standins.temperatures(path, frames=744, height=16, width=24),
    "mnist_test_seq.npy": standins.published_clips,
    "KTH": standins.kth,
    "kth_tau.pth": standins.openstl_checkpoint,
}

PART = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]*) -->\n+)?```(?P<language>\w*)\n(?P<block>.*?)```"
    r"|(?<!`)`(?P<inline>foreframe [^`]+)`(?!`)",
    re.DOTALL,
)
COMMAND = re.compile(rf"\bforeframe (({'|'.join(verbs())}) [^|&;`\n]*)")
VERB_ALONE = {*verbs(), "data check"}  # named in running text, not called


def parts(page: Path) -> Iterator[tuple[str, str]]:
    """What a page has to run, in its order: (python or bash, text)."""
    for part in PART.finditer(page.read_text(encoding="utf-8")):
        language, block, inline, why = part["language"], part["block"], part["inline"], part["why"]
        if inline is not None:
            command = " ".join(inline.split())
            if command.removeprefix("foreframe ") not in VERB_ALONE:
                yield "bash", command
        elif why is not None:
            assert len(why.split()) > 2, f"{page.name}: say why {block!r} is not run"
        elif language == "console":
            yield (
                "bash",
                "\n".join(
                    line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")
                ),
            )
        elif language not in SHOWN:
            yield language, block


def run_line(line: str) -> str:
    """Run one line of a shell, and give the program's name."""
    program, *arguments = (NAMES.get(word, word) for word in shlex.split(line, comments=True))
    arguments = [
        re.sub(r"\b[A-Z][A-Z_]+\b(?=/)", lambda name: NAMES[name[0]], word) for word in arguments
    ]
    if program == "foreframe":
        run_foreframe(arguments)
        return arguments[0]
    assert program.endswith("run.sh"), (
        f"{line!r} is not run; say why before its block: <!-- not run: ... -->"
    )
    subprocess.run(["bash", program, *arguments], check=True)
    # What the script would have called, each in its order.
    for name, *words in map(json.loads, CALLED.read_text(encoding="utf-8").splitlines()):
        if name == "foreframe":
            run_foreframe(words)
        else:
            printed_by(*words)
    CALLED.unlink()
    return program


def run_foreframe(arguments: list[str]) -> None:
    try:
        code = main(fewer(arguments))
    except SystemExit as stop:  # --help leaves so
        code = stop.code
    assert not code, arguments


def run_python(page: str, code: str, names: dict[str, Any] | None = None) -> None:
    """Run a block, where these names are known, or keep one that begins with a file's name as that
    file.
    """
    file = re.match(r"# (\w+\.py)\n", code)
    if file:
        Path(file[1]).write_text(code, encoding="utf-8")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("default", Note)  # a reader sees it, and goes on
            exec(compile(code, page, "exec"), names or {})


def demo_commands() -> list[str]:
    """What `make demo` runs, without its environment."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\ndemo:")[-1].split("\n\n")[0]
    return [
        f"foreframe {line}"
        for line in re.findall(r"^\t@?\$\(BIN\)/foreframe (.*)$", recipe, re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the reader's files, the examples, and runs/demo as `make demo` leaves it."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "examples").symlink_to(ROOT / "examples")
    write_shims(folder / ".venv" / "bin", folder / CALLED)
    for name, make in FILES.items():
        make(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert [run_line(line) for line in demo_commands()].count("predict") == 3
        assert {"future.gif", "evaluation"} <= {path.name for path in Path("runs/demo").iterdir()}
    return folder


def test_the_first_commands_run(tmp_path, monkeypatch) -> None:
    """The whole page, and the others, are slow."""
    monkeypatch.chdir(tmp_path)
    standins.film(Path("film.mp4"), frames=112, height=32, width=32)
    standins.rain(Path("rain.nc"), frames=12, side=48)
    first = next(text for language, text in parts(PAGES[0]) if language == "bash")
    ran = [run_line(line) for line in first.splitlines()]
    assert ran == ["predict"] * len(ran)
    assert len(list(Path().glob("future.*"))) == len(ran)
    assert "--after" in first  # at a film's end there may be nothing that moves, and no truth
    with Image.open("future.png") as picture:
        assert picture.height > 3 * 64  # the past, what came, the forecast, and its error


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.full] * (page.name in LONG))
        for page in PAGES
        if any(parts(page))
    ],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_page_runs_from_top_to_bottom(page: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])  # `--data my_clips.Waves` adds the folder
    ran = set()
    for language, text in parts(page):
        if language == "python":
            run_python(page.name, fewer_in_python(text))
        else:
            assert language == "bash", (
                f"{page.name}: a block of {language or 'no language'}: {text}"
            )
            lines = (line for line in text.splitlines() if line.strip() and line[0] != "#")
            ran |= {run_line(line) for line in lines}
    if page == PAGES[0]:
        assert {"predict", "data", "train", "evaluate"} <= ran
        with Image.open("runs/film/future.gif") as moving:
            assert moving.n_frames == 10 + 10
        assert Path("runs/film/evaluation/scorecard.json").exists()
        assert Path("my-forecaster/model.safetensors").exists()
    # What pages write is imported anew by the next; the examples stay, whose types are checked.
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", ""))
        if str(folder) in file and str(folder / "examples") not in file:
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*sorted({*dir(foreframe)} - {"models"}), "build_model"])
def test_the_docstring_of_a_public_name_has_an_example_that_runs(
    name: str, folder: Path, monkeypatch
) -> None:
    monkeypatch.chdir(folder)
    names = {"foreframe": foreframe, "build_model": build_model, "np": np, "torch": torch}
    about = inspect.getdoc(names.get(name) or getattr(foreframe, name)) or ""
    example = re.search(r"\n\n((?: {4,}\S.*\n)+)\n", about)
    assert example
    # Export takes half a minute, and tests/test_export.py has enough; a calibration needs a run.
    if name not in ("export", "calibrate"):
        run_python(name, fewer_in_python(inspect.cleandoc(f"\n{example[1]}")), names)


def test_the_reference_has_every_public_name() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    shown = {name for text in texts for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
    lists = r"(?m)^::: (\S+)\n    options:\n      members: \[([^]]+)\]"
    for text in texts:
        for module, members in re.findall(lists, text):
            shown |= {f"{module}.{name}" for name in re.findall(r"\w+", members)}
    public = {f"foreframe.{name}" for name in foreframe.__all__}
    public |= {f"foreframe.models.{name}" for name in foreframe.models.__all__}
    options = {group.__name__ for group in GROUPS} - {name.split(".")[-1] for name in shown}
    assert (public - shown, options) == (set(), set())


def test_every_verb_and_every_example_is_run_by_a_page() -> None:
    lines = [
        line.split()
        for page in PAGES
        for language, text in parts(page)
        if language == "bash"
        for line in text.splitlines()
        if line.strip()
    ]
    scripts = {str(script.relative_to(ROOT)) for script in (ROOT / "examples").glob("*/run.sh")}
    assert scripts
    assert scripts <= {line[0] for line in lines}
    parsed = {command.split()[0] for command in commands_not_run()}  # by the test below
    assert set(verbs()) - parsed <= {line[1] for line in lines if line[0] == "foreframe"}


def commands_not_run() -> list[str]:
    """The commands in blocks that are not run, and those of units of systemd."""
    blocks = [
        part["block"]
        for page in PAGES
        for part in PART.finditer(page.read_text(encoding="utf-8"))
        if part["why"] is not None
    ]
    units = (ROOT / "examples" / "deploy").glob("*.service")
    texts = [*blocks, *(unit.read_text(encoding="utf-8") for unit in units)]
    return [found[1] for text in texts for found in COMMAND.finditer(text.replace("\\\n", " "))]


@pytest.mark.parametrize("command", commands_not_run())
def test_a_command_that_is_not_run_parses(command: str) -> None:
    words = [word for word in shlex.split(command, comments=True) if word[0] != "$"]
    verb, *rest = words
    module = module_of(verb)
    parser = module.check_parser() if words[:2] == ["data", "check"] else module.parser()
    values = parser.values(rest[words[:2] == ["data", "check"] :])
    if verb == "train":  # whose groups of options are read with their config
        return
    own = {name: values.pop(name) for name in parameters(parser.function) if name in values}
    check_types(parser.function, own, "")
    converted(values, type_hints(parser.function).get("options", dict), "")


def test_user_pages_are_short() -> None:
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert lengths.pop("README.md") <= 120
    assert lengths.pop("architecture.md") <= 250  # for developers
    assert {name for name, length in lengths.items() if length > 150} == set()


def test_the_overview_lists_every_page_and_llms_txt_repeats_it() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"(?m)^\| \[[^]]+\]\(([^/)]+)\) \|", index))
    assert listed == {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert (ROOT / "llms.txt").read_text(encoding="utf-8") == runpy.run_path(LLMS)["text"]()


def test_the_architecture_names_every_module() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = "".join(re.findall(r"^\|.*\n", page, re.MULTILINE))
    named = {Path(name).name for name in re.findall(r"`([\w/]+\.py)`", rows)}
    files = [*(ROOT / "src" / "foreframe").rglob("*.py")]
    modules = {path.name for path in files}
    networks = {
        path.name for path in files if "zoo" in path.parts and "\nPRESETS" in path.read_text()
    }
    assert modules - networks - {"__init__.py", "__main__.py"} <= named <= modules


def test_links_lead_somewhere() -> None:
    links = {
        page.parent / link
        for page in [*PAGES, *REPORTS, ROOT / "CONTRIBUTING.md"]
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not link.startswith("http")
    }
    assert len(links) > 10
    assert [link for link in links if not link.exists()] == []
    docs = ROOT / "docs"  # which is all that the site has
    inside = {link.resolve() for link in links if docs in link.parents}
    assert [link for link in inside if docs.resolve() not in link.parents] == []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes())
def test_recipes_train(recipe: str, tmp_path) -> None:
    """Each recipe names its own preset, but for the default one, and takes its first steps, with
    few channels.
    """
    options = parse(["--config", recipe])
    assert options.model.model == {"default": "guided"}.get(recipe, recipe)
    if recipe == "tutorial":  # the knobs that the tutorial promised
        learning, data = options.learning, options.data
        assert (learning.learning_rate, learning.epochs) == (1e-4, 300)
        assert (learning.beta_1, learning.beta_2) == (0.9, 0.98)
        assert (data.batch_size, data.past, data.future) == (12, 10, 10)
    words = ["train", "--config", recipe, "--run", str(tmp_path / "run")]
    few = json.dumps(PRESETS[options.model.model])
    assert main(fewer([*words, "--model_args", few])) == 0
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
