"""Probabilities by members, blurred and calibrated, and hindcasts that correct them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from foreframe import Forecaster
from foreframe.addons.radar import calibration as of
from foreframe.addons.radar.calibration import Calibration, LiveHindcasts, corrected
from foreframe.base.notes import listening
from foreframe.models import build_model

UNCHANGED = np.broadcast_to([0.0, 1.0], (2, 3, 2))
AS_IS = (((0.0, 1.0),) * 3,)
KNOWN = Calibration(0.0, (0.5,), AS_IS, AS_IS)


def shares(m: int = 20, size: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Members and truth that reach 0.5 with the same probabilities, from place to place."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 1, (3, 1, size, size))
    drawn, truth = (rng.uniform(0, 1, (n, 3, 1, size, size)) < p for n in (m, 1))
    return drawn.astype(np.float32), truth[0].astype(np.float32)


def test_chances_are_shares_in_a_neighbourhood() -> None:
    members, _ = shares()
    plain = of.chances_of(members, 0.5)
    np.testing.assert_allclose(plain.at, (members >= 0.5).mean(axis=0), atol=1e-6)
    sofar = np.logical_or.accumulate(members >= 0.5, axis=1).mean(axis=0)
    np.testing.assert_allclose(plain.within, sofar, atol=1e-6)
    blurred = of.chances_of(members, 0.5, 0.5)
    for k in range(3):
        wanted = gaussian_filter(
            plain.at[k, 0], 0.5 * (k + 1), radius=max(1, round(1.25 * (k + 1)))
        )
        np.testing.assert_allclose(blurred.at[k, 0, 8:-8, 8:-8], wanted[8:-8, 8:-8], atol=1e-4)
    missing = np.ones((4, 2, 1, 9, 9), np.float32)
    missing[..., :4] = np.nan
    made = of.chances_of(missing, 0.5, 1.0)
    assert np.isnan(made.at[..., :4]).all()
    np.testing.assert_allclose(made.within[..., 4:], 1, atol=1e-6)


def test_diagrams_count_what_came_true() -> None:
    members, truth = shares()
    truth[0, 0, :, :7] = np.nan
    chances = of.chances_of(members, 0.5)
    cases, summed, hits = of.diagrams(chances, truth[:2], 0.5, 3).sum(axis=3)
    assert cases.tolist() == [[(~np.isnan(truth[0])).sum(), 3600, 0]] * 2
    assert hits[0, :2].tolist() == [np.nansum(truth[0]), truth[1].sum()]
    assert summed[0, 1] == pytest.approx(chances.at[1].sum(), rel=1e-5)
    assert hits[1, 1] == (np.nan_to_num(truth[0]) + truth[1] > 0).sum()


def test_lines_are_those_of_a_logistic_regression() -> None:
    """The penalised likelihood, as a minimiser of scipy finds it."""
    rng = np.random.default_rng(1)
    p = np.linspace(0.02, 0.98, 56)
    n = np.full(56, 400.0)
    came = rng.binomial(400, 1 / (1 + np.exp(0.7 - 0.6 * np.log(p / (1 - p))))).astype(float)
    made = np.zeros((3, 2, 3, 56)) + np.array([n, n * p, came])[:, None, None]
    x = np.log(p / (1 - p))

    def loss(line: np.ndarray) -> float:
        q = 1 / (1 + np.exp(-line[0] - line[1] * x))
        fit = -(came * np.log(q) + (n - came) * np.log(1 - q)).sum()
        return fit + 0.5 * ((line[0] / 0.5) ** 2 + ((line[1] - 1) / 0.25) ** 2)

    wanted = minimize(loss, [0.0, 1.0]).x
    lines = of.fitted(made, UNCHANGED, (0.5, 0.25), np.inf)
    np.testing.assert_allclose(lines[0, 0], wanted, atol=1e-3)
    few = of.fitted(made, UNCHANGED, (0.1, 0.05), 20.0)
    assert (np.abs(few[0, 0] - (0, 1)) < np.abs(lines[0, 0] - (0, 1))).all()
    np.testing.assert_array_equal(of.fitted(0 * made, UNCHANGED), UNCHANGED)


def test_probabilities_on_lines_rise_from_0_to_1() -> None:
    p = np.linspace(0, 1, 1001)[None]
    np.testing.assert_allclose(of.on_lines(p, np.array([[0.0, 1.0]])[:, :, None]), p, atol=1e-9)
    made = of.on_lines(p, np.array([[0.7, 0.6]])[:, :, None])
    assert made[0, [0, -1]].tolist() == [0, 1]
    assert (np.diff(made) > 0).all()
    assert np.abs(np.diff(made)).max() < 0.03  # no jump


def test_hindcasts_make_wrong_probabilities_reliable() -> None:
    """Of members that are all too often wet, and hindcasts that were so, too."""
    rng = np.random.default_rng(3)
    (wet, truth), (earlier, came) = (shares(seed=seed) for seed in (2, 4))
    wet, earlier = (np.maximum(x, rng.uniform(0, 1, x.shape) < 0.3) for x in (wet, earlier))
    before, past = (of.chances_of(x, 0.5) for x in (wet, earlier))
    after = corrected(KNOWN, before, 0.5, [(past, came)]).at
    before = before.at
    assert before.mean() - truth.mean() > 0.1
    assert abs(after.mean() - truth.mean()) < 0.9 * (before.mean() - truth.mean())
    assert np.square(after - truth).mean() < np.square(before - truth).mean()
    same = corrected(KNOWN, of.chances_of(wet, 0.5), 0.5, [])
    np.testing.assert_allclose(same.at, of.chances_of(wet, 0.5).at, atol=1e-6)
    assert (same.within >= same.at).all()
    assert (same.within <= np.cumsum(same.at, axis=0) + 1e-6).all()
    unlike = Calibration(0.0, (0.5,), AS_IS, (((2.0, 1.0),) * 3,))  # which must not be believed
    most = corrected(unlike, of.chances_of(wet, 0.5), 0.5, [])
    assert (most.within <= np.cumsum(most.at, axis=0) + 1e-6).all()


def test_a_calibration_is_kept_beside_weights(tmp_path: Path) -> None:
    lines = (((0.1, 0.9), (0.2, 0.8)), ((0.5, 1.0), (0.6, 1.1)))
    known = Calibration(0.25, (1.0, 5.0), lines, lines[::-1])
    mine = Forecaster(build_model("persistence"), folder=tmp_path)
    assert of.calibration_of(mine) is None
    of.write_calibration(tmp_path, known, mine.model)
    assert replace(of.calibration_of(mine), weights="") == known
    assert known.prior(4.0, 3)[0].tolist() == [[0.5, 1.0], [0.6, 1.1], [0.6, 1.1]]
    assert known.prior(0.2, 1)[1].tolist() == [[0.5, 1.0]]
    whole = json.loads((tmp_path / of.FILE).read_text())
    for damage in ({"blur": "much"}, {"blur": 1e9}, {"thresholds": []}, {"at": [[], []]}):
        (tmp_path / of.FILE).write_text(json.dumps(whole | damage))
        with pytest.raises(ValueError, match=r"is damaged .*foreframe calibrate, or remove it"):
            of.calibration_of(mine)


def test_other_weights_drop_a_calibration(tmp_path: Path) -> None:
    """A copy keeps it; other weights do not, nor does what is saved over it."""
    lines = (((0.1, 0.9),),)
    mine = Forecaster.load(Forecaster(build_model("quick")).save(tmp_path / "a"))
    of.write_calibration(tmp_path / "a", Calibration(0.25, (1.0,), lines, lines), mine.model)
    copy = Forecaster.load(mine.save(tmp_path / "b"))
    assert of.calibration_of(copy).blur == 0.25
    assert of.calibration_of(Forecaster.load(copy.save(tmp_path / "b"))).blur == 0.25
    with torch.no_grad():
        next(mine.model.parameters()).add_(1)
    notes: list[str] = []
    with listening(notes.append):
        assert of.calibration_of(Forecaster.load(mine.save(tmp_path / "c"))) is None
    assert "belongs to other weights and is ignored" in notes[0]
    Forecaster(mine.model).save(tmp_path / "c")
    assert not (tmp_path / "c" / of.FILE).exists()
    assert of.calibration_of(Forecaster.load("radar")).blur == 0.25


def test_a_stream_keeps_its_own_hindcasts() -> None:
    """Equal to the hindcasts of a recording, but for half precision, and in bounded memory."""
    live = LiveHindcasts(KNOWN, 0.5, 3)
    frames = [shares(1, 12, seed)[1][0] for seed in range(12)]
    drawn = [shares(5, 12, 100 + seed)[0] for seed in range(12)]
    made = []
    for number, (frame, members) in enumerate(zip(frames, drawn, strict=True), 1):
        live.see(number, frame)
        made.append(live.correct(members))
    past = [(of.chances_of(drawn[k], 0.5), np.stack(frames[k + 1 : k + 4])) for k in (10, 9, 8, 7)]
    wanted = corrected(KNOWN, of.chances_of(drawn[11], 0.5), 0.5, past)
    np.testing.assert_allclose(made[-1].at, wanted.at, atol=2e-3)
    np.testing.assert_allclose(made[-1].within, wanted.within, atol=2e-3)
    assert np.abs(made[-1].at - of.chances_of(drawn[11], 0.5).at).max() > 0.01
    assert len(live._frames) <= 7
    assert len(live._made) == 4


def test_a_hindcast_whose_first_frames_are_gone_is_left_out() -> None:
    """Of forecasts far apart; what is left of its truth would be of other lead times."""
    live = LiveHindcasts(KNOWN, 0.5, 3)
    even, frame = np.zeros((4, 3, 1, 12, 12), np.float32), np.zeros((1, 12, 12), np.float32)
    even[::2], frame[:, :9] = 1, 1
    for number in range(1, 10):
        live.see(number, frame)
        if number == 1:
            live.correct(even)
        if number == 5:
            assert live.correct(even).at.min() > 0.5  # three of four came
            live._made.pop()
    assert [number for number, _ in live._frames] == [3, 4, 5, 6, 7, 8, 9]
    np.testing.assert_allclose(live.correct(even).at, 0.5)
