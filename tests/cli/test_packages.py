"""Models, readers, datasets and more that an installed package registers by entry points."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import foreframe
from foreframe import Window, clips_from, evaluate
from foreframe.base.extras import registered
from foreframe.cli import main
from foreframe.data import Recordings, open_splits
from foreframe.forecasting.forecaster import Forecaster
from foreframe.models import CORES, MODELS, PRESETS, Persistence, build_model
from foreframe.models.heads import HEADS
from foreframe.models.names import published
from foreframe.training.recipes import options_from
from refusals import refused

TIDES = '''
import numpy as np
from foreframe.clips.clip import Clip
from foreframe.data.readers import Reader
from foreframe.models import Persistence
from foreframe.models import ConvLSTM
class Ebb(ConvLSTM): "A core."
class Still(Persistence): "A model."
def read(paths, options):
    return [Clip(np.loadtxt(paths[0]).reshape(-1, 1, 40, 40))]
reader = Reader((".tide",), read)
from foreframe.data.splits import Published
class Gauges(Published):
    "A dataset."
    name, files, protocol = "gauges", "train/*.tide, ...", {"past": 2, "future": 1}
    def read(self, options):
        for path in sorted(self.folder.rglob("*.tide")):
            yield path.parent.name, read([path], options)[0]
from foreframe.base.verbs import Verb
from foreframe.cli.parser import Parser
verb = Verb("tell the tide", "tides", {"tide": "tides:tell"})
def tell(place: str, *, hours: int = 6) -> None:
    """Tell the tide.

    Args:
        place: where
        hours: ahead
    """
    print(f"{place} in {hours} h")
def parser():
    return Parser("tide", tell)
from pathlib import Path
from foreframe.models.heads import Carry
FILES = Path(__file__).parent
class Drift(Carry): "A head."
from foreframe.forecasting.matches import Match
inverted = Match("inverted", "upside down", values=lambda frames, last, guide, member: 1 - frames)
PRESETS = {"small": ("next_frame", {"core": {"ebb": {"hidden": [2]}}})}
'''
ENTRY_POINTS = """
[foreframe.models]
still = tides:Still
persistence = tides:Still
[foreframe.cores]
ebb = tides:Ebb
broken = tides_that_is_nowhere:Core
[foreframe.readers]
tide = tides:reader
[foreframe.datasets]
gauges = tides:Gauges
moving_mnist = tides:Gauges
[foreframe.heads]
drift = tides:Drift
[foreframe.presets]
small = tides:PRESETS
[foreframe.recipes]
spring = tides:FILES
[foreframe.matches]
inverted = tides:inverted
[foreframe.weights]
calm = tides:FILES
[foreframe.verbs]
tide = tides:verb
ebbing = tides_that_is_nowhere:verb
train = tides:verb
"""


def forget() -> None:
    registered.cache_clear()
    names = ((CORES, "ebb"), (MODELS, "still"), (HEADS, "drift"), (PRESETS, "small"))
    for registry, name in names:
        registry.data.pop(name, None)
    sys.modules.pop("tides", None)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, as pip would leave it."""
    site = tmp_path / "site"
    about = site / "tides-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "tides.py").write_text(TIDES)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tides\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.chdir(tmp_path)
    forget()
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(str(site))
        yield site
    forget()


def test_they_are_listed_and_not_imported(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert "Models of installed packages: still (tides:Still)\n" in said
    assert "Cores of installed packages: ebb (tides:Ebb), broken (tides_that" in said
    assert "Readers of installed packages: tide (tides:reader)\n" in said
    assert "did you mean still? Or choose" in refused(capsys, "train", "--model", "stil")
    core = refused(capsys, "train", "--model", "next_frame", "--model_args.core", "eb")
    assert "choose convlstm, " in core
    assert "ebb, broken" in core
    assert main(["train", "--model", "quick", "--help"]) == 0
    assert {"still", "ebb"} <= {*MODELS, *CORES}
    assert len(MODELS) == len({*MODELS}) > len(CORES)
    assert "tides" not in sys.modules


def test_a_verb_has_options_a_line_of_help_and_a_call(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out
    assert "  tide        tell the tide\n" in lines
    assert "  ebbing      ebbing, which the package tides registers as foreframe.verbs: ca" in lines
    assert "  train       train a model" in lines
    assert main(["tide", "Brest", "--hours", "3"]) == 0
    assert capsys.readouterr().out == "Brest in 3 h\n"
    assert "hours is a whole number" in refused(capsys, "tide", "Brest", "--hours", "long")
    assert "No module named 'tides_that_is_nowhere'" in refused(capsys, "ebbing")
    assert "did you mean tide?" in refused(capsys, "tied")
    assert foreframe.tide is sys.modules["tides"].tell
    with pytest.raises(AttributeError):
        foreframe.__getattr__("ebb")


def test_no_name_of_foreframes_is_replaced(installed: Path) -> None:
    assert type(build_model("persistence")) is MODELS["persistence"] is Persistence
    assert "convlstm" in CORES
    assert CORES["convlstm"].__module__.startswith("foreframe.")


def test_a_broken_one_is_told_in_a_line(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "train", "--model", "next_frame", "--model_args.core", "broken")
    assert line.startswith(
        "foreframe: broken, which the package tides registers as foreframe.cores: cannot"
    )
    assert "No module named 'tides_that_is_nowhere'" in line


def test_a_saved_folder_loads_where_the_package_is(installed: Path) -> None:
    of = {"next_frame": {"core": {"ebb": {"hidden": [2]}}}}
    Forecaster(build_model("dressed", {"of": of})).save("dressed")
    Forecaster(sys.modules["tides"].Still()).save("still")  # by its class, not by its name
    forget()
    assert Forecaster.load("still").model.args == {}
    assert type(Forecaster.load("dressed").model.of.encoder) is sys.modules["tides"].Ebb
    assert MODELS["still"] is sys.modules["tides"].Still
    forget()
    sys.path.remove(str(installed))
    with pytest.raises(
        ValueError, match=r"^still needs model 'still', which is unknown here; inst"
    ):
        Forecaster.load("still")
    with pytest.raises(ValueError, match=r"^dressed needs core 'ebb', which is unknown here; inst"):
        Forecaster.load("dressed")


def test_a_reader_reads_its_ending_alone_and_in_folders(
    installed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("high").mkdir()
    values = np.random.default_rng(0).random((3, 1600))
    np.savetxt("high/one.tide", values)
    assert "tides" not in sys.modules
    (clip,) = clips_from("high/one.tide")
    np.testing.assert_allclose(clip.frames, values.reshape(3, 1, 40, 40))
    (same,) = clips_from("high")
    assert same.name == "high/one.tide"
    assert main(["predict", "persistence", "high/one.tide", "--steps", "2", "-o", "on.npy"]) == 0
    monkeypatch.setattr("foreframe.data.readers.of_package", lambda *_: "a word")
    with pytest.raises(ValueError, match=r"^\.tide is registered .* but is no Reader$"):
        clips_from("high/one.tide")
    Path("low.tid").touch()
    assert ".tid is not supported; use one of .nc" in refused(
        capsys, "predict", "mean", "low.tid", "-o", "no.npy"
    )
    forget()
    sys.path.remove(str(installed))
    assert ".tide is not supported" in refused(
        capsys, "predict", "mean", "high/one.tide", "-o", "a.npy"
    )


def test_a_dataset_has_splits_and_a_protocol(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, frames in (("train", 6), ("validation", 5), ("test", 4)):
        Path("sea", split).mkdir(parents=True)
        np.savetxt(f"sea/{split}/one.tide", np.random.default_rng(0).random((frames, 1600)))
    named = [(("data",), "gauges"), (("data_args", "folder"), "sea"), (("stride",), 2)]
    splits = open_splits(options_from(["quick"], named).data)
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [2, 2, 1]
    assert splits["test"][0].shape == (3, 1, 40, 40)
    assert options_from([], []).data.past == 10  # foreframe's own moving_mnist
    words = ["--data", "gauges", "--data_args.folder"]
    assert main(["evaluate", "persistence", *words, "sea", "-o", "report"]) == 0
    assert "data gauges: lake is no folder; name one with train/*" in refused(
        capsys, "data", *words, "lake"
    )


def test_a_preset_with_a_head_a_recipe_and_weights(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = {"output": {"drift": {}}, "core": {"convlstm": {"hidden": [2]}}}
    assert type(build_model("encoder_decoder", head).output) is sys.modules["tides"].Drift
    Forecaster(build_model("small")).save(installed / "calm")
    (installed / "spring.yaml").write_text("model: small\nlearning_rate: 0.5\n")
    assert "calm" in published()
    assert type(Forecaster.load("calm").model.encoder) is sys.modules["tides"].Ebb
    options = options_from(["spring"], [])
    assert (options.model.model, options.learning.learning_rate) == ("small", 0.5)


def test_a_match_changes_forecasts_and_has_a_row(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = np.random.default_rng(0).random((6, 1, 8, 8)).astype(np.float32)
    forecaster = Forecaster(build_model("persistence"), Window(2, 2))
    future = forecaster.predict(frames, 2, match="inverted")
    np.testing.assert_allclose(future, 1 - frames[-1:].repeat(2, axis=0), rtol=1e-6)
    lagged = Forecaster(build_model("lagged", {"of": "persistence"}), Window(2, 2))
    for members, each in ((None, forecaster), (2, lagged)):
        how = {"baselines": (), "match": "inverted", "members": members}
        card = evaluate(each, Recordings(frames, "all", Window(2, 2)), **how)
        assert "model inverted" in card["scores"]
        assert members is None or "model inverted" in card["ensemble"]
    forecaster.match = "inverted"
    forecaster.save("saved")
    np.save("past.npy", frames)
    words = ["predict", "saved", "past.npy", "-o", "out.npy"]
    assert main(words) == 0
    np.testing.assert_allclose(np.load("out.npy"), future, rtol=1e-6)
    forget()
    sys.path.remove(str(installed))
    assert "match 'inverted' is unknown; choose" in refused(capsys, *words)
