"""Live streams over HTTP: they are those of Python, go on elsewhere, and end; what is refused."""

import asyncio
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta

import numpy as np
import pytest
import xarray as xr
from fastapi import FastAPI
from fastapi.testclient import TestClient
from served import held, npy, problem, wait_for

import foreframe
from foreframe import Forecaster, Scaling, Window
from foreframe.addons.serve import problems, streams
from foreframe.addons.serve.live import router
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.streams import Streams
from foreframe.addons.serve.worker import Worker
from foreframe.base.extras import registered
from foreframe.base.notes import listening
from foreframe.forecasting.streaming import Stream
from foreframe.forecasting.trained import Trained
from small import built

FRAMES = np.random.default_rng(0).random((5, 1, 16, 20)).astype(np.float32)
FRAMES[2, 0, 3, 4] = np.nan

needs_places = pytest.mark.skipif(
    "places" not in registered("answers"), reason="needs the add-on radar"
)


def forecaster(name: str) -> Forecaster:
    return Forecaster(built(name), Window(5, 3), Scaling(0, 1, "mm/h", "minmax"))


class Service:
    """Streams alone, without the rest of the service; a clock that stands."""

    def __init__(self, *names: str) -> None:
        self.worker, self.now = Worker(32), 0.0
        models = {name: forecaster(name) for name in names or ("tutorial",)}
        self.streams = Streams(models, self.worker, ServeOptions(), clock=lambda: self.now)
        app = FastAPI()
        problems.install(app)
        app.state.streams = self.streams
        app.include_router(router)
        self.http = TestClient(app)

    @contextmanager
    def running(self) -> Iterator["Service"]:
        self.worker.start()
        with self.http:
            yield self
        self.worker.stop()

    def begin(self, **fields) -> str:
        answer = self.http.post("/v1/streams", json=fields)
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"] == f"/v1/streams/{answer.json()['id']}"
        return answer.headers["location"]

    def push(self, at: str, frames: np.ndarray) -> dict:
        answer = self.http.post(f"{at}/frames", content=npy(frames))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def forecast(self, at: str, **asked) -> np.ndarray:
        answer = self.http.get(f"{at}/forecast", params={"output": "npy", **asked})
        assert answer.status_code == 200, answer.text
        return np.load(io.BytesIO(answer.content))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(streams, "IDLE", 10)
    monkeypatch.setattr(streams, "STREAMS", 3)
    with Service("tutorial", "persistence").running() as service:
        yield service


def test_a_stream_is_that_of_python(service) -> None:
    live = forecaster("tutorial").stream()
    at = service.begin()
    for k, frame in enumerate(FRAMES):
        assert service.push(at, frame) == {"seen": k + 1}
        np.testing.assert_array_equal(service.forecast(at), live.push(frame))
    np.testing.assert_array_equal(service.forecast(at, steps=5), live.forecast(5))
    several = service.begin(model="tutorial", steps=2)
    assert service.push(several, FRAMES[:3]) == {"seen": 3}
    frames = [[[v if v == v else None for v in row] for row in FRAMES[3, 0].tolist()]]
    assert service.http.post(f"{several}/frames", json={"frames": frames}).json() == {"seen": 4}
    service.push(several, FRAMES[4].astype(">f8"))
    told = service.http.get(f"{several}/forecast").json()
    assert (told["model"], told["shape"], told["units"]) == ("tutorial", [2, 1, 16, 20], "mm/h")
    np.testing.assert_allclose(told["frames"], live.forecast(2), rtol=1e-6)


def test_what_was_never_seen_is_null_and_pictures_stay_pictures(service) -> None:
    missing, at = FRAMES[0].copy(), service.begin(model="persistence", steps=1)
    missing[0, 0, 0] = np.nan
    service.push(at, missing)
    assert service.http.get(f"{at}/forecast").json()["frames"][0][0][0][0] is None
    service.streams.forecasters["persistence"].scaling = Scaling()
    at = service.begin(model="persistence", steps=1)
    service.push(at, np.full((1, 16, 20), 51, np.uint8))
    np.testing.assert_allclose(service.forecast(at), 51)


def test_a_stream_goes_on_in_another_process(service) -> None:
    at = service.begin(steps=4)
    service.push(at, FRAMES[:3])
    state = service.http.get(f"{at}/state")
    assert state.headers["content-type"] == "application/octet-stream"
    with Service("tutorial").running() as other:
        there = other.http.put(f"{at}/state", params={"steps": 4}, content=state.content)
        assert there.json() == {
            "id": at.split("/")[-1], "model": "tutorial", "steps": 4, "seen": 3, "expires": 10,
        }  # fmt: skip
        for one in (service, other):
            one.push(at, FRAMES[3:])
        np.testing.assert_array_equal(other.forecast(at), service.forecast(at))
        live = forecaster("tutorial").stream(4)
        for frame in FRAMES:
            live.take(frame)
        np.testing.assert_array_equal(other.forecast(at), live.forecast())
        again = other.http.put(f"{at}/state", content=state.content)  # back to where it was
        assert (again.json()["seen"], again.json()["steps"], other.streams.expire()) == (3, 3, 1)
        refused = other.http.put(f"{at}/state", content=state.content[:-8])
        assert "no saved stream of this model" in problem(refused, 422)
        assert "id: " in problem(other.http.put("/v1/streams/short/state", content=b""), 422)
    assert "nothing to save" in problem(service.http.get(f"{service.begin()}/state"), 422)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"map": {}}, "no saved stream"),
        ({"map": {"x": [1.0] * 10**6, "y": [1.0], "crs": "EPSG:4326"}}, "no saved stream"),
        ({"time": "2026-07-01T12:00:00", "steps": [float("inf")]}, "infinity"),
        ({"time": "yesterday", "steps": [300.0]}, "yesterday"),
        ({"time": "2026-07-01T12:00:00", "undated": -1}, "division by zero"),
    ],
)
def test_a_state_that_a_stranger_has_made(service, source, told) -> None:
    at = service.begin()
    service.push(at, FRAMES[:1])
    state = service.http.get(f"{at}/state").content
    end = 8 + int.from_bytes(state[:8], "little")
    header = json.loads(state[8:end])
    about = json.loads(header["__metadata__"]["stream"])
    header["__metadata__"]["stream"] = json.dumps(about | {"source": source})
    header = json.dumps(header).encode()
    state = len(header).to_bytes(8, "little") + header + state[end:]
    asked, when = {"at": "4,5", "probability": 0.5}, {"time": "2026-07-01T13:00:00"}
    answers = [
        service.http.put(f"{at}/state", content=state),
        service.http.get(f"{at}/places", params=asked),
        service.http.post(f"{at}/frames", content=npy(FRAMES[1]), params=when),
    ]
    assert told in problem(next(each for each in answers if each.status_code != 200), 422)


def test_a_frame_that_comes_while_a_state_is_put_is_taken_after_it(service) -> None:
    at, other = service.begin(), service.begin()
    service.push(other, FRAMES[:3])
    state = service.http.get(f"{other}/state").content
    with ThreadPoolExecutor(2) as pool:
        with held(service.worker):
            put = pool.submit(service.http.put, f"{at}/state", content=state)
            wait_for(lambda: service.worker.waiting == 1)
            pushed = pool.submit(service.push, at, FRAMES[3])
            time.sleep(0.1)
        assert put.result().json()["seen"] == 3
        assert pushed.result() == {"seen": 4}
    service.push(other, FRAMES[3])
    np.testing.assert_array_equal(service.forecast(at), service.forecast(other))


def test_a_stream_begins_anew_after_the_push_that_is_under_way(service) -> None:
    at = service.begin(id="my-home-and-garden")
    fresh = {"id": "my-home-and-garden", "model": "persistence", "steps": 1}
    with ThreadPoolExecutor(2) as pool:
        with held(service.worker):
            pushed = pool.submit(service.push, at, FRAMES[:3])
            wait_for(lambda: service.worker.waiting == 1)
            again = pool.submit(service.begin, **fresh)
            time.sleep(0.1)
        assert (again.result(), pushed.result()["seen"]) == (at, 3)
    assert "no frame yet" in problem(service.http.get(f"{at}/forecast"), 422)
    assert service.push(at, FRAMES[0]) == {"seen": 1}
    assert service.http.get(f"{at}/forecast").json()["model"] == "persistence"


def test_frames_of_a_stream_that_ends_meanwhile_are_refused(service) -> None:
    at = service.begin()
    with ThreadPoolExecutor(1) as pool:
        with held(service.worker):
            pushed = pool.submit(service.http.post, f"{at}/frames", content=npy(FRAMES))
            wait_for(lambda: service.worker.waiting == 1)
            service.http.delete(at)
        assert "has ended" in problem(pushed.result(), 404)


def test_streams_end_and_are_counted(service) -> None:
    at, used, _ = (service.begin() for _ in range(3))
    answer = service.http.post("/v1/streams")
    assert "3 streams are open here" in problem(answer, 503)
    assert answer.headers["retry-after"]
    assert "no such stream" in problem(service.http.get("/v1/streams/unknown/forecast"), 404)
    assert service.http.delete(at).status_code == 204
    assert "has ended" in problem(service.http.get(f"{at}/forecast"), 404)
    service.now = 9.0
    service.push(used, FRAMES[0])
    assert service.streams.quiet() == 9.0  # of the stream without frames
    state = service.http.get(f"{used}/state").content
    service.now = 18.0
    assert (service.streams.expire(), service.streams.quiet()) == (1, 9.0)
    service.now = 29.0
    assert (service.streams.expire(), service.streams.quiet()) == (0, 0.0)
    assert "unused for 10 s" in problem(service.http.delete(used), 404)
    assert service.http.put(f"{used}/state", content=state).json()["seen"] == 1
    service.push(used, FRAMES[1])


def test_the_memory_of_all_streams_is_bounded(service, monkeypatch) -> None:
    first, second, third = (service.begin() for _ in range(3))
    service.push(first, FRAMES[0])
    state = service.http.get(f"{first}/state").content
    monkeypatch.setattr(Stream, "nbytes", property(lambda own: 2**29 if own.seen else 0))
    for _ in range(2):  # half of the budget each
        service.push(second, FRAMES[0])
    full = "use all memory that they may"
    grid = {"x": [0] * 20_000, "y": [0]}
    monkeypatch.setattr(service.streams, "options", ServeOptions(budget=1 + 1e-4))
    again = {"id": third.split("/")[-1], "grid": grid}
    assert full in problem(service.http.post("/v1/streams", json=again), 503)
    assert full in problem(service.http.post(f"{third}/frames", content=npy(FRAMES[0])), 503)
    assert full in problem(service.http.put(f"{third}/state", content=state), 503)
    assert service.streams.find(third.split("/")[-1]).stream.seen == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "none"}, "there is no model none; choose one of tutorial, persistence"),
        ({"steps": 0}, "steps"),
        ({"members": 2}, "one future"),
        ({"match": "best"}, "match"),
        ({"seeds": 1}, "there is no field seeds; did you mean seed?"),
        ({"grid": {"x": [1], "y": [1], "z": [1]}}, "grid: there is no field z"),
        ({"grid": {"x": [0] * 20_001, "y": [1]}}, "grid.x: List should have at most 20000"),
        ({"grid": {"x": [8, 9], "y": [47, 46], "crs": "EPSG:1"}}, "crs EPSG:1 is not known"),
        ({"grid": {"x": [600000, 601000], "y": [200000, 199000]}}, "give its crs"),
        ({"grid": {"x": [1], "y": [1], "crs": "EPSG:5773"}}, "no axes to the east and north"),
        ({"steps": "many"}, "steps"),
        ({"id": "home"}, "id: "),
    ],
)
def test_streams_that_do_not_begin(service, fields, said) -> None:
    assert said in problem(service.http.post("/v1/streams", json=fields), 422)
    assert service.streams.expire() == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it has no header"),
        (npy(np.array([[[None]]])), "not numbers"),
        (npy(FRAMES[0, 0]), "an array of shape (16, 20); send a frame (C,H,W)"),
        (npy(FRAMES[0, :, :9]), "but the stream began with"),
        (npy(np.full((1, 16, 20), np.inf, np.float32)), "infinite"),
    ],
)
def test_frames_that_are_refused_change_nothing(service, content, said) -> None:
    at = service.begin()
    service.push(at, FRAMES[0])
    before = service.forecast(at)
    assert said in problem(service.http.post(f"{at}/frames", content=content), 422)
    both = npy(np.stack([FRAMES[1], np.full_like(FRAMES[1], np.inf)]))
    problem(service.http.post(f"{at}/frames", content=both), 422)
    np.testing.assert_array_equal(service.forecast(at), before)
    assert service.push(at, FRAMES[1]) == {"seen": 2}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"frames": [[[1, 2], [3]]]}', '{"frames": {"a": 1}}',
     '{"frames": [[["a"]]]}', '{"frames": ' + "[" * 100_000, '{"frames": [[[1e999]]]}'],
)  # fmt: skip
def test_lists_that_are_no_frames(service, text) -> None:
    kind = {"content-type": "application/json"}
    at = service.begin()
    assert problem(service.http.post(f"{at}/frames", content=text, headers=kind), 422)
    answer = service.http.post(f"{at}/frames", content=b"[" * 2**23, headers=kind)
    assert "send frames as .npy" in problem(answer, 413)


def test_forecasts_that_are_refused(service, monkeypatch) -> None:
    monkeypatch.setattr("foreframe.addons.serve.live.JSON_VALUES", 700)
    at = service.begin(model="persistence")
    assert "no frame yet" in problem(service.http.get(f"{at}/forecast"), 422)
    service.push(at, FRAMES[0])
    for steps, said in ((0, "steps"), (10**30, "steps"), (3, "ask for output=npy")):
        answer = service.http.get(f"{at}/forecast", params={"steps": steps})
        assert said in problem(answer, 422)


def test_a_busy_model_is_said_to_be(service, monkeypatch) -> None:
    at = service.begin()
    service.worker._limit = 0
    assert "busy" in problem(service.http.post(f"{at}/frames", content=npy(FRAMES[0])), 503)
    service.worker._limit = 8
    monkeypatch.setattr(service.streams, "arriving", 2**30)
    answer = service.http.post(f"{at}/frames", content=npy(FRAMES[0]))
    assert "others are sending much" in problem(answer, 503)


def test_a_client_that_leaves_is_no_error(service) -> None:
    path, sent = f"{service.begin()}/frames", []

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
    asyncio.run(service.http.app(scope, receive, send))
    assert sent[0]["status"] == 400


def test_too_slow_a_model_is_given_up() -> None:
    with Service("tutorial").running() as service:
        at = service.begin()
        service.streams.options = ServeOptions(seconds=1e-4)
        problem(service.http.post(f"{at}/frames", content=npy(FRAMES)), 504)
        assert service.streams.find(at.split("/")[-1]).stream.seen == 0


@needs_places
def test_places_of_a_stream_on_a_grid(service) -> None:
    """As the forecast has them; in minutes once the time of a frame is told."""
    grid = {"x": [8 + 0.1 * k for k in range(20)], "y": [48 - 0.1 * k for k in range(16)]}
    at = service.begin(grid=grid)
    service.streams.forecasters["tutorial"].trained = Trained(step=300)
    service.push(at, FRAMES[:2])
    asked = {"at": ["47.61,8.48", "46.5,9.9"], "probability": 0.5}
    answer = service.http.get(f"{at}/places", params=asked).json()
    first, second = answer["places"]
    assert (first["row"], first["column"], first["unit"]) == (4, 5, "frames")
    assert (second["latitude"], second["longitude"]) == (46.5, 9.9)
    service.http.post(
        f"{at}/frames", content=npy(FRAMES[2]), params={"time": "2026-07-01T16:30:00+02:00"}
    )
    summed = asked | {"sum": 5}
    summed |= {"area": "8.45,47.55,8.65,47.65"}
    first, _, area = service.http.get(f"{at}/places", params=summed).json()["places"]
    assert (first["sum"]["minutes"], area["cells"]) == (5, 2)
    next_time = first["times"][0]
    assert (first["unit"], next_time["time"], next_time["lead"]) == (
        "min", "2026-07-01T14:35:00Z", 5.0
    )  # fmt: skip
    with Service("tutorial").running() as other:  # the grid goes along
        state = service.http.get(f"{at}/state").content
        other.http.put(f"{at}/state", content=state)
        assert other.http.get(f"{at}/places", params=asked).json()["places"][0]["row"] == 4


@needs_places
def test_what_is_no_place_of_a_stream(service) -> None:
    at = service.begin()
    assert problem(service.http.get(f"{at}/places", params={"at": "1,2"}), 422)
    service.push(at, FRAMES[:1])
    assert "row,column" in problem(service.http.get(f"{at}/places", params={"at": "47.4,8.5"}), 422)
    assert problem(service.http.get(f"{at}/places"), 422)
    path = {"at": "places.csv"}  # no file of the server's
    said = problem(service.http.get(f"{at}/places", params=path), 422)
    assert said.startswith("a location is latitude,longitude")
    said = problem(service.http.get(f"{at}/places", params={"area": "basins.geojson"}), 422)
    assert said.startswith("an area is west,south,east,north")
    asked = {"at": "1,2", "sum": 60}
    assert "rain in mm/h, with times" in problem(
        service.http.get(f"{at}/places", params=asked), 422
    )
    infinite = {"at": "1,2", "probability": "nan"}
    assert problem(service.http.get(f"{at}/places", params=infinite), 422)
    when = {"time": "2026-07-01T14:30:00"}
    assert service.http.post(f"{at}/frames", content=npy(FRAMES[0]), params=when).status_code == 200
    twice = service.http.post(f"{at}/frames", content=npy(FRAMES[0]), params=when)
    assert "not later than 2026-07-01T14:30:00" in problem(twice, 422)
    early = {"time": "0001-01-01T00:00:00+14:00"}
    refused = service.http.post(f"{at}/frames", content=npy(FRAMES[0]), params=early)
    assert "out of range" in problem(refused, 422)
    small = service.begin(grid={"x": [8, 9], "y": [47, 46], "crs": "EPSG:4326"})
    service.push(small, FRAMES[:1])
    said = problem(service.http.get(f"{small}/places", params={"at": "47,8"}), 422)
    assert "coordinate latitude has shape (2,)" in said


@needs_places
@pytest.mark.parametrize(("trained", "last", "place"), [(300, 4, "4,5"), (None, 2, "3,4")])
def test_places_of_a_stream_are_those_of_the_outlook(service, trained, last, place) -> None:
    """In the time step of its frames, which those without a time keep, and with the same notes;
    where the last frame has no value nothing is said of the present.
    """
    f, times = service.streams.forecasters["tutorial"], datetime(2026, 7, 1, 12)
    f.trained = Trained(step=trained)
    at, frames = service.begin(), np.roll(FRAMES, 4 - last, axis=0)
    for k, frame in enumerate(frames):
        when = {"time": f"{times + k * timedelta(minutes=10)}"} if k in (0, 1, 3) else {}
        service.http.post(f"{at}/frames", content=npy(frame), params=when)
    asked = {"at": place, "probability": 0.5}
    answer = service.http.get(f"{at}/places", params=asked).json()
    service.http.put(f"{at}/state", content=service.http.get(f"{at}/state").content)
    assert service.http.get(f"{at}/places", params=asked).json() == answer
    dates = np.datetime64(times, "us") + np.arange(5) * np.timedelta64(10, "m")
    dims, coords = ("time", "y", "x"), {"time": dates}
    rain = xr.DataArray(frames[:, 0], coords, dims, attrs={"units": "mm/h"})
    notes: list[str] = []
    with listening(notes.append):
        made = foreframe.outlook(f, rain, at=place, probability=0.5)
    (there,), (here,) = answer["places"], made.points
    assert {name: there[name] for name in here.outlook()} == here.outlook()
    assert there["time"] == "2026-07-01T12:40:00Z"
    assert (there["now"] is None) == (place == "3,4")
    assert there["sentence"] == here.sentence()
    assert [each["time"] for each in there["times"]] == here.times[-3:]
    assert [f"in memory, DataArray: {note}" for note in answer["notes"]] == notes
    assert len(notes) == bool(trained)


@needs_places
def test_a_place_without_coverage_has_no_probability(service) -> None:
    """Its fill value, which nothing declares, is missing; of that a note tells."""
    frames, at = FRAMES[:2].copy(), service.begin(model="persistence")
    frames[:, :, :8] = -3
    told = service.push(at, frames)
    assert (told["seen"], told["notes"]) == (2, ["50% of its values are -3, taken as no data"])
    asked = {"at": ["4,5", "12,5"], "probability": 0.2}
    nowhere, known = service.http.get(f"{at}/places", params=asked).json()["places"]
    assert (nowhere["now"], nowhere["within"], known["now"]) == (None, None, False)
    assert nowhere["sentence"] == "Rain (0.2 mm/h or more): no radar coverage here."
