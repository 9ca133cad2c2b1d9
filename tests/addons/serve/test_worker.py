"""The thread that runs models: batches, its bounded queue, what fails and what is cancelled."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from served import held

from foreframe import Forecaster, Scaling, Window
from foreframe.addons.serve.handling import forecast_together
from foreframe.addons.serve.uploads import AskForecast
from foreframe.addons.serve.worker import FullError, Worker
from foreframe.forecasting.forecast_options import TiledOptions
from foreframe.models.interface import BEFORE_STEP
from small import built


@pytest.fixture
def sizes() -> list[int]:
    return []


@pytest.fixture
def worker(sizes: list[int]) -> Iterator[Worker]:
    worker = Worker(4, sizes.append)
    worker.start()
    yield worker
    worker.stop()


def doubled(items: list[Any]) -> list[Any]:
    return [2 * item for item in items]


def test_what_waits_with_one_key_is_one_batch(worker: Worker, sizes: list[int]) -> None:
    with held(worker):
        futures = [worker.submit(doubled, n, n % 2) for n in range(4)]
        assert worker.waiting == 4
    assert [future.result(10) for future in futures] == [0, 2, 4, 6]
    assert sizes == [1, 2, 2]


def test_a_full_queue_refuses_and_a_cancelled_task_is_left_out(
    worker: Worker, sizes: list[int]
) -> None:
    with held(worker):
        futures = [worker.submit(doubled, n, 0) for n in range(4)]
        with pytest.raises(FullError, match="ask again"):
            worker.submit(doubled, 4, 0)
        assert futures[1].cancel()
    assert [futures[k].result(10) for k in (0, 2, 3)] == [0, 4, 6]
    assert sizes == [1, 3]


def test_what_fails_together_is_done_alone(worker: Worker) -> None:
    def reciprocals(items: list[float]) -> list[float]:
        return [1 / item for item in items]

    with held(worker):
        futures = [worker.submit(reciprocals, n, 0) for n in (1, 0, 2)]
    assert (futures[0].result(10), futures[2].result(10)) == (1, 0.5)
    with pytest.raises(ZeroDivisionError):
        futures[1].result(10)
    assert worker.run(lambda: 5).result(10) == 5


def test_a_stopped_worker_cancels_what_waits(worker: Worker) -> None:
    assert worker.alive
    with held(worker):
        waiting = worker.submit(doubled, 1, 0)
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        with pytest.raises(CancelledError):
            waiting.result(10)
    stopping.join()
    assert not worker.alive
    with pytest.raises(FullError):
        worker.submit(doubled, 1, 0)


def test_what_nobody_wants_any_more_ends(worker: Worker) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(items: list[Any]) -> list[Any]:
        begun.set()
        try:
            while True:
                BEFORE_STEP.get()()
                time.sleep(0.001)
        finally:
            ended.set()

    with held(worker):
        first, second = (worker.submit(endless, None, 0) for _ in range(2))
    assert begun.wait(10)
    first.cancel()
    assert not ended.wait(0.1)  # it goes on for the other
    second.cancel()
    with pytest.raises(CancelledError):
        second.result(10)
    assert worker.run(lambda: 5).result(10) == 5


@pytest.mark.parametrize("name", ["tutorial", "at_once"])
def test_a_forecast_asks_before_each_step_whether_it_is_wanted(name: str) -> None:
    forecaster, asked = Forecaster(built(name), Window(2, 2)), 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 9:
            raise CancelledError

    token = BEFORE_STEP.set(check)
    with pytest.raises(CancelledError):
        forecaster.predict(np.zeros((2, 1, 16, 16), np.float32), 1000)
    BEFORE_STEP.reset(token)
    assert asked == 9


@pytest.mark.parametrize(("name", "members"), [("tutorial", None), ("dressed", 2)])
def test_a_batch_is_the_forecast_of_each(name: str, members: int | None) -> None:
    forecaster = Forecaster(built(name), Window(4, 3), Scaling(0, 1, "mm/h", "minmax"))
    frames = np.random.default_rng(0).random((3, 4, 1, 16, 20)).astype(np.float32)
    frames[1, 2, 0, :4] = np.nan
    options = TiledOptions(members=members, seed=3)
    asked = AskForecast("model", [(1, 4, 1, 16, 20)], 5, options, (-np.inf, np.inf))
    pasts = [[past[None]] for past in np.nan_to_num(frames)]
    together = forecast_together(forecaster, asked, pasts)
    assert len(together) == 3
    for [past], (future, _) in zip(pasts, together, strict=True):
        alone = forecaster.predict(past, 5, options)
        np.testing.assert_allclose(future, alone if members is None else alone[:, 0], atol=2e-6)
