"""Options of the command line: all that is refused, in one table, and what they become."""

import re
from pathlib import Path

import numpy as np
import pytest

from foreframe import Forecaster
from foreframe.cli import main, module_of
from foreframe.evaluation import EvaluateOptions
from foreframe.models import build_model
from foreframe.training.recipes import recipes
from refusals import parse, refused

FEW = [
    *("--data_args.clips", "8", "--validation_clips", "2", "--batch_size", "2"),
    *("--device", "cpu", "--devices", "1", "--run", "run"),
]
PREDICT = ["predict", "persistence", "clip.npy", "-o", "out.npy"]
SCORE = ["evaluate", "--data", "moving_mnist", "--clips", "5", "--past", "2", "--future", "3"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which commands run, with a clip."""
    monkeypatch.chdir(tmp_path)
    np.save("clip.npy", np.full((10, 1, 64, 64), 0.5, np.float32))
    return tmp_path


BAD = [
    # what is no number, or no number of that kind
    ("train --lr 1e-3", "there is no option --lr; did you mean --learning_rate?"),
    ("train --learning_rate nan", "learning_rate is a finite number, not"),
    ("train --learning_rate 1e400", "learning_rate is a finite number below 2**63, not inf"),
    ("train --learning_rate -1", "learning_rate must be above 0"),
    ("train --epochs null", "epochs is a whole number, not None"),
    ("train --average 1.0", "average must be below 1, not 1.0"),
    ("train --mae_share 1.5", "mae_share must be at most 1, not 1.5"),
    ("train --devices [0,0]", "devices"),
    ("evaluate nowhere --clips 0", "clips must be at least 1"),
    ("stream mean clip.npy --wait nan", "wait"),
    # more than any memory or machine has
    ("train --hidden 100000", "more than the budget of 1 GiB"),
    ("train --data_args.clips 1000000000000", "at most"),
    ("train --future 1000000000", "of memory; draw shorter or smaller ones"),
    ("train --loader_workers 1000000", "loader_workers must be at most 256, not 1000000"),
    ("evaluate mean --data moving_mnist --period 1000000", "from 1 to 10000"),
    ("data --clip 99999", "clips 0 to 9999"),
    ("stream mean clip.npy --steps 1000000000", "budget of 4 GiB; forecast less"),
    # words that are none of those known
    ("trian", "did you mean train?"),
    ("train --learning_rat 1", "did you mean --learning_rate?"),
    ("train -x 1", "there is no option -x"),
    ("train --loss mee", "loss is one of mse, mae"),
    ("train --model slow", "model 'slow' is unknown"),
    ("train --model slow --help", "model 'slow' is unknown"),
    ("train --device abacus", "accelerator"),
    ("train --compile perhaps", "compile is true or false or one of auto"),
    ("evaluate meam", "there is no folder meam; did you mean mean?"),
    ("predict mean clip.npy -o a.npy --grid source --every 2", "grid source excludes every and"),
    ("train --size [4,4]", "did you mean --reading.size?"),
    # within options
    ("train --model_args.core.convlstm.hiden [4]", "did you mean hidden?"),
    ("train --data_args.motoin svg", "did you mean motion?"),
    ("train --data_args 5", "data_args is names and values, not 5"),
    ("train --data_args.clips", "--data_args.clips: expected one argument"),
    ("train --data_args..clips 3", "there is no option --data_args..clips"),
    ("train --trainer.max_stepz 5", "did you mean max_steps?"),
    ("train --trainer.callbacks []", "multiple values for keyword argument 'callbacks'"),
    ("train --trainer.strategy {class_path:os.system}", "Trainer refuses these settings"),
    ("train --reading.sice [8,8]", "did you mean --reading.size?"),
    ("train --splits.by tyme", "splits.by is one of auto, recording, time, not"),
    ("data --data_args.digits mnist", "allow the download"),
    ("data --reading.size [8,8]", "moving_mnist holds clips, not recordings: --reading.size does"),
    ("train --model quick --data clip.npy --data_args.x 8", "recordings are those of --reading"),
    # what is missing, too much, or not to be had
    ("predict nowhere", "missing: INPUT"),
    ("evaluate a b", "unexpected word 'b': options begin with --"),
    ("data check nowhere", "there is no file or folder nowhere"),
    ("data --output x.mp4", "choose .npy, .gif or .png"),
    ("train --resume nowhere", "there is no run in nowhere"),
    ("train --weights nowhere", "there is no folder nowhere"),
    ("train --data nowhere.Clips", "cannot import it"),
    ("train --data 2019", "data '2019' is unknown"),
    ("train --config quik", ", ".join(recipes())),
    # of forecasts
    ([*PREDICT, "--precision", "[auto]"], "precision is one of 32-true, bf16-mixed, auto, not"),
    ([*PREDICT, "--match", "middle"], "match 'middle' is unknown; choose"),
    ([*PREDICT, "--colours", "nope"], "no colours named 'nope'"),
    ([*PREDICT, "--every", "2", "--after", "3"], "not both"),
    ([*PREDICT[:-1], "out.png", "--every", "2"], "cannot write .png; choose .mp4"),
    ([*SCORE, "--pasts", "pasts.mp4"], "pasts pasts.mp4: frames for another program"),
    ("evaluate --clips 5", "name a RUN, or what to score on without one: --data"),
    # odd words
    (["train", "--data_args.motion", "[" * 3000], "more than 32 levels"),
    (["train", "--data", ""], "data is empty"),
    (["train", "--run", "a\0b"], "run is empty or has a NUL character"),
]


@pytest.mark.parametrize(
    ("words", "said"), BAD, ids=lambda value: value[:40] if isinstance(value, str) else "odd"
)
def test_bad_options(
    words: str | list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends in exit code 2 and one line that says what is wrong, and leaves no file."""
    verb, *given = words.split() if isinstance(words, str) else words
    few = FEW if verb == "train" and "--resume" not in given else []
    before = sorted(here.iterdir())
    assert said in refused(capsys, verb, *few, *given)
    assert sorted(here.iterdir()) == before


def test_a_device_that_no_machine_has(capsys: pytest.CaptureFixture[str]) -> None:
    Forecaster(build_model("mean")).save("saved")
    words = ["predict", "saved", *PREDICT[2:], "--device", "toaster"]
    assert "choose cpu, cuda, mps or auto" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("learning_rate: .nan", "learning_rate is a finite number, not '.nan'"),
        ("model: [quick]", "c.yaml: model is a word, not ['quick']"),
        ("data: 5", "data is a word"),  # only Python accepts objects
        ("data: {a: 1}", "data is a word"),
        ("bacth_size: 3", "c.yaml: there is no option 'bacth_size'; did you mean batch_size?"),
        ("import: broken", "there is no option 'import'"),
        ("reading: {sice: [8, 8]}", "reading takes no argument 'sice'; did you mean size?"),
        ("splits: {seed: -1}", "splits: seed must be at least 0, not -1"),
        ("#" * 300_000, "larger than 256 KiB"),
        ("just words", "config c.yaml has no options"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_configs(
    config: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("c.yaml").write_text(config)
    assert said in refused(capsys, "train", "--config", "c.yaml", "--run", "run")
    assert not Path("run").exists()


def test_a_flag_beside_it_makes_nothing_in_a_config_harmless(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("c.yaml").write_text("data_args: {digits: {root: http://127.0.0.1:9/x, source: mnist}}")
    train = ["train", "--config", "c.yaml", "--data", "moving_mnist", "--run", "run"]
    for more in ("--data_args.digits.source", "kmnist"), ("--data_args.digits", "{source: kmnist}"):
        said = refused(capsys, *train, *more)
        assert "has data_args.digits.root 'http://127.0.0.1:9/x'; downloads" in said


def test_flags_win_wherever_they_stand(tmp_path: Path) -> None:
    """What is given for a part of a mapping leaves its neighbours; a whole mapping takes its
    place; a value is what it looks like, at any depth.
    """
    (tmp_path / "one.yaml").write_text(
        "batch_size: 3\npast: 4\nmodel_args: {draw: {kernel: 5, over: all}}"
    )
    (tmp_path / "two.yaml").write_text("batch_size: 4\nlearning_rate: 1e-3")
    configs = ["--config", str(tmp_path / "one.yaml"), f"--config={tmp_path / 'two.yaml'}"]
    of_model = ["--model_args.draw.kernel", "3", "--model_args.codec.strided.show_last", "false"]
    options = parse(["--past", "7", *configs, *of_model, "--tensorboard"])
    assert (options.data.batch_size, options.data.past) == (4, 7)
    assert options.learning.learning_rate == 1e-3
    assert options.run.tensorboard is True
    codec = {"strided": {"show_last": False}}
    assert options.model.model_args == {"draw": {"kernel": 3, "over": "all"}, "codec": codec}
    whole = "--model_args={draw: {over: last}}"
    assert parse([*configs, whole]).model.model_args == {"draw": {"over": "last"}}
    core = ["--model_args.core.convlstm.hidden", "[8]", "--model_args.core.convlstm.kernel", "5"]
    expected = {"core": {"convlstm": {"hidden": [8], "kernel": 5}}}
    assert parse(core).model.model_args == expected
    other = [*core, "--model_args.core.convgru.kernel", "3"]  # another kind replaces the core
    assert parse(other).model.model_args == {"core": {"convgru": {"kernel": 3}}}


def test_a_recipe_is_found_by_its_name_unless_a_file_has_it() -> None:
    assert parse(["--config=nowcast", "--batch_size", "3"]).model.model == "nowcast"
    Path("nowcast").write_text("model: shi2015\n")
    assert parse(["--config", "nowcast"]).model.model == "shi2015"


def test_what_is_not_given_is_as_in_training() -> None:
    assert EvaluateOptions().given == {}
    given = {"past": 3, "reading": {"every": 2}, "scaling": "log"}
    assert EvaluateOptions(clips=4, **given).given == given


def values(arguments: list[str]) -> dict:
    """What a verb's function would be called with."""
    verb, *rest = arguments
    return module_of(verb).parser().values(rest)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("predict a b -o c --reading.strict", "predict a b -o c --reading.strict true"),
        ("predict a --input b --output c", "predict a b -o c"),
        ("predict --steps 3 a -o c b", "predict a b -o c --steps=3"),
        ("predict --run a b -o c", "predict a b -o c"),
        ("predict a b -o c --reading {every: 2}", "predict a b -o c --reading.every 2"),
        ("stream a -", "stream --input - a"),
    ],
)
def test_an_option_is_written_in_several_ways(one: str, other: str) -> None:
    split = r"(?<!:) "  # {every: 2} is one word
    assert values(re.split(split, one)) == values(re.split(split, other))


def test_words_that_look_like_other_values_stay_words() -> None:
    given = values(["predict", "2020", "1e3", "-o", "true", "--reading.variable", "17"])
    assert given == {
        "run": "2020",
        "input": ["1e3"],
        "output": "true",
        "reading": {"variable": "17"},
    }


def test_the_help_of_a_model_lists_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model", "nowcast", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    for line in (
        "--model_args.core.convlstm.forget_bias",
        "constant added to f before its sigmoid. [1.0]",
        "--model_args.output.blend.blurs",
        "[none]",
    ):
        assert line in said
    assert "--learning_rate" not in said
    assert main(["train", "--model", "dressed", "--help"]) == 0  # of any forecaster
    assert "--model_args.of" in capsys.readouterr().out
    assert main(["train", "--data", "moving_mnist", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--data_args.motion.redraw" in said
    assert "--reading.size" not in said
