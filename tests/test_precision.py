"""Half precision: forecasts near the exact ones, equal however made, and what "auto" takes."""

import pytest
import torch

from foreframe import MovingMNIST, evaluate
from foreframe.forecasting.compute import FAST, resolve_precision
from foreframe.forecasting.forecast_options import AUTO, EXACT, HALF
from small import available
from test_streams import NEAR, apart, gappy, small_forecaster

# Forecasts


def test_it_is_the_autocast_of_training(forecaster) -> None:
    past = torch.rand(2, 5, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        expected = forecaster.predict(past, 3)
    assert torch.equal(forecaster.predict(past, 3, precision=HALF), expected)


@pytest.mark.parametrize(("capability", "taken"), [("AVX2", EXACT), *((c, HALF) for c in FAST)])
def test_auto_is_half_where_the_processor_multiplies_it(
    forecaster, monkeypatch, capability: str, taken: str
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert resolve_precision(AUTO, "cpu") == taken
    past = torch.rand(2, 6, 1, 16, 20)
    expected = {name: forecaster.predict(past, 3, precision=name) for name in (EXACT, HALF)}
    assert torch.equal(forecaster.predict(past, 3, precision=AUTO), expected[taken])
    assert (expected[EXACT] != expected[HALF]).any()
    live = forecaster.stream(3, precision=AUTO)
    live.push(past[0, 0])
    half = any(value.dtype == torch.bfloat16 for value in live.state.values())
    assert half == (taken == HALF)


# Streams


@pytest.mark.parametrize(("saved", "restored"), [(HALF, EXACT), (EXACT, HALF)])
@pytest.mark.parametrize("name", available("guided", "svg_small"))
def test_a_stream_goes_on_in_another(name, saved, restored, tmp_path) -> None:
    forecaster, frames = small_forecaster(name), gappy()
    live = forecaster.stream(3, precision=saved)
    for frame in frames[:3]:
        live.take(frame)
    live.save(tmp_path / "state")
    again = forecaster.stream(3, precision=restored).restore(tmp_path / "state")
    fresh = forecaster.stream(3, precision=restored)
    fresh.take(frames[0])
    kinds = [{n: one.dtype for n, one in live.state.items()} for live in (again, fresh)]
    assert kinds[0] == kinds[1]
    for t in (3, 4):
        assert apart(again.push(frames[t]), forecaster.predict(frames[: t + 1], 3)) < NEAR


# Scores


def test_scores_are_near_and_say_their_precision(forecaster, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AMX")
    data = MovingMNIST("test", canvas=32, clips=2, length=10)
    how = {"batch_size": 2, "baselines": ["persistence"]}
    names = (EXACT, HALF, AUTO)
    cards = {name: evaluate(forecaster, data, precision=name, **how) for name in names}
    # As text: some scores of a black frame are NaN.
    assert repr(evaluate(forecaster, data, **how)) == repr(cards[EXACT])
    assert [card["precision"] for card in cards.values()] == [EXACT, HALF, HALF]
    assert repr(cards[AUTO]) == repr(cards[HALF])
    # What is left is the baselines'.
    exact, half = (
        cards[name]["scores"].pop("model")["openstl"]["mse"]["overall"] for name in (EXACT, HALF)
    )
    assert half == pytest.approx(exact, rel=NEAR)
    assert half != exact
    assert repr(cards[EXACT]["scores"]) == repr(cards[HALF]["scores"])
