"""Values from a file meet the types of what they are to become, or are refused in one line."""

import math
import resource
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from foreframe import Scaling
from foreframe.base.schema import NonNegativeInt, brief, check_types, typed
from foreframe.base.yaml_files import plain_yaml
from foreframe.models import MODELS, Model, build_model


def test_open_names_are_no_names() -> None:
    """Of a function that takes any."""

    def takes(n: int, *rest: int, **more: int) -> None:
        pass

    assert check_types(takes, {"n": 3}, "it") == {"n": 3}
    for name in ("rest", "more"):
        with pytest.raises(ValueError, match=f"it takes no argument '{name}'; choose n"):
            check_types(takes, {name: 3}, "it")


def test_a_dataclass_that_is_not_checked_has_its_ranges_too() -> None:
    @dataclass
    class Own:
        first: NonNegativeInt = 0

    assert typed(Own, {"first": 3}, "") == Own(3)
    with pytest.raises(ValueError, match="first must be at least 0, not -3"):
        typed(Own, {"first": -3}, "")


def test_a_stranger_s_words_stay_one_short_line() -> None:
    assert brief("a\nb\x1b[31m" + "c" * 500).isprintable()
    assert len(brief("c" * 10**6)) < 200
    assert len(brief([list(range(10**5))])) < 200
    assert len(brief(10**4000)) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\nb: &b [*a,*a,*a]", "line 2: aliases"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: 1\nb: 2\na: 3", "line 3: a is not a name, or is repeated"),
        ("{1: 2}", "1 is not a name"),
        ("{a: " * 3000, "more than 32 levels"),
        ("--- 1\n--- 2", "line 2: but found another document"),
        ("\ta: 3", "found character"),
        ("a: \0", "not YAML"),
    ],
)
def test_yaml_that_is_more_than_values(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        plain_yaml(text, "config x.yaml")
    assert "\n" not in str(caught.value)


def test_yaml_of_values() -> None:
    text = (
        "{a: 1e-3, b: 2020-01-01, c: [1, .5, -2.5E+3], d: {e: null, f: true}, g: 'x y', "
        "h: 08, i: on}"
    )
    assert plain_yaml(text, "x") == {
        "a": 1e-3,
        "b": "2020-01-01",
        "c": [1, 0.5, -2500.0],
        "d": {"e": None, "f": True},
        "g": "x y",
        "h": "08",
        "i": "on",
    }


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("tutorial", {"core": {"convlstm": {"hidden": [10**9]}}}, "beyond reason"),
        ("tutorial", {"core": {"convlstm": {"kernel": 10**6 - 1}}}, "GiB"),
        ("tutorial", {"core": {"convlstm": {"hidden": [8] * 10**5}}}, "arguments; 1000 at most"),
        (
            "nowcast",
            {"output": {"blend": {"guides": [{"cycle": {"period": 10**5}}]}}},
            "from 1 to 10000",
        ),
    ],
)
def test_models_that_are_refused_before_they_take_memory(name: Any, args: Any, said: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=said) as caught:
        build_model(name, args)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_a_network_that_is_to_be_filled_takes_no_more_than_what_fills_it() -> None:
    weights = build_model("quick").state_dict()
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    filled = build_model("quick", weights=weights)
    assert torch.equal(torch.rand(1), drawn)  # as nobody asks for random weights
    assert all(torch.equal(value, weights[name]) for name, value in filled.state_dict().items())
    with pytest.raises(ValueError, match="in the model that it describes"):
        build_model("quick", {"core": {"convlstm": {"hidden": [2000]}}}, weights=weights)


@pytest.mark.parametrize("shares", [False, True])
def test_weights_do_not_replace_what_only_a_constructor_makes(shares: bool, monkeypatch) -> None:
    class Mine(Model):
        def __init__(self, shares: bool = False) -> None:
            super().__init__()
            self.first = torch.nn.Linear(1, 1)
            self.second = self.first if shares else torch.nn.Linear(1, 1)
            self.ramp = [] if shares else [torch.arange(3)]

    monkeypatch.setitem(MODELS, "mine", Mine)
    weights = {name: value.clone() for name, value in Mine(shares).state_dict().items()}
    filled = build_model("mine", {"shares": shares}, weights=weights)
    assert filled.args == {"shares": shares}
    assert torch.equal(filled.second.weight, weights["second.weight"])
    assert filled.second is filled.first if shares else filled.ramp[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("low", "high"), [(math.nan, 1.0), (0.0, math.inf), (-1e38, 1e38), (1.0, 1.0)]
)
def test_scalings_that_are_none(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="a scaling needs"):
        Scaling(low, high)
