"""The service within this process: models, forecasts, health, metrics, tokens, limits, problems."""

import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_threads
import numpy as np
import pytest
import xarray as xr
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.numpy import load
from served import held, npy, problem, wait_for

from foreframe import Forecaster, Scaling, Window, predict
from foreframe.addons.serve.app import create_app
from foreframe.addons.serve.serve_options import ServeOptions
from foreframe.addons.serve.worker import QUEUE
from foreframe.base.notes import Note
from foreframe.forecasting.trained import Trained
from small import built

CLIP = np.random.default_rng(0).random((9, 1, 16, 16)).astype(np.float32)
CLIP[7, 0, 3] = np.nan
OWN = "http://127.0.0.1:8000"


def models() -> dict[str, Forecaster]:
    dressed = Forecaster(built("dressed"), Window(4, 3), Scaling(0, 1, "mm/h", "minmax"))
    return {"persistence": Forecaster.load("persistence"), "dressed": dressed}


def sent(name: str = "clip.npy", content: bytes = npy(CLIP)) -> dict[str, Any]:
    return {"file": (name, content)}


@pytest.fixture(scope="module")
def http() -> Iterator[TestClient]:
    """A service that is running."""
    with pytest.MonkeyPatch.context() as patch:
        in_threads.use(patch)
        app = create_app(models(), ServeOptions(upload=1, seconds=20))
        with TestClient(app, OWN, raise_server_exceptions=False) as client:
            yield client


def test_models_have_metadata_and_titles() -> None:
    trained = Forecaster(built("tutorial"), trained=Trained("data/rain.nc", preset="quick"))
    named = models() | {"scenes": Forecaster.load("scenes"), "trained": trained}
    http = TestClient(create_app(named, ServeOptions()), OWN)
    first, second, *_ = listed = http.get("/v1/models").json()
    assert first["name"] == "persistence"
    assert (first["channels"], first["members"], first["parameters"]) == (None, False, 0)
    assert {"past": 4, "future": 3, "units": "mm/h", "low": 0.0, "high": 1.0}.items() <= (
        second.items()
    )
    assert second["members"] is True
    assert second["parameters"] > 0
    titles = {model["title"] for model in listed}
    assert titles >= {"persistence", "Films and cameras", "quick, trained on rain.nc"}


def test_health_and_metrics(http: TestClient) -> None:
    before = TestClient(create_app(models(), ServeOptions()), OWN)  # its models do not run
    assert before.get("/healthz").status_code == 200
    answer = before.get("/readyz")
    assert "models" in problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
    http.post("/v1/forecast", files=sent())
    told = http.get("/metrics").text
    assert 'foreframe_requests_total{route="/healthz",status="200"}' in told
    assert 'foreframe_seconds_count{route="/v1/forecast"}' in told
    for name in ("foreframe_queue 0.0", "foreframe_batch_count"):
        assert name in told


def test_a_forecast_is_that_of_predict(http: TestClient, tmp_path: Path) -> None:
    (tmp_path / "clip.npy").write_bytes(npy(CLIP))
    with pytest.warns(Note, match="it does not say its units: mm/h is assumed"):
        made = predict(
            models()["dressed"], str(tmp_path / "clip.npy"), steps=5, after=5, members=2, seed=4
        )
    fields = {"model": "dressed", "steps": 5, "after": 5, "members": 2, "seed": 4}
    answers = {}
    for output in ("json", "npy", "safetensors"):
        answer = http.post("/v1/forecast", files=sent(), data={**fields, "output": output})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-foreframe-batch"] == "1"
        assert "forecast;dur=" in answer.headers["server-timing"]
        answers[output] = answer.content
    of_json = json.loads(answers["json"])
    assert of_json["shape"] == [2, 5, 1, 16, 16]
    assert "clip.npy: it does not say its units: mm/h is assumed" in of_json["notes"]
    assert (of_json["model"], of_json["units"], of_json["times"]) == ("dressed", "mm/h", None)
    tensors = load(answers["safetensors"])
    for frames in (
        np.array(of_json["frames"], np.float32),
        np.load(io.BytesIO(answers["npy"])),
        tensors["future"],
    ):
        np.testing.assert_allclose(frames, made.frames, atol=1e-6)
    np.testing.assert_array_equal(tensors["past"], CLIP[2:6])
    np.testing.assert_array_equal(tensors["truth"][:3], CLIP[6:])
    assert np.isnan(tensors["truth"][3:]).all()
    length = int.from_bytes(answers["safetensors"][:8], "little")
    about = json.loads(answers["safetensors"][8 : 8 + length])["__metadata__"]
    assert (about["last"], about["units"], about["times"]) == ("5", "mm/h", "")


def test_frames_as_json(http: TestClient) -> None:
    frames = [[[1.0, None], [3.0, 4.0]]] * 2
    answer = http.post("/v1/forecast", json={"frames": frames, "steps": 1})
    assert answer.json()["frames"] == [[[[1.0, None], [3.0, 4.0]]]]
    assert answer.json()["notes"] == [
        "2 frames are fewer than the 10 of training: it forecasts worse"
    ]


def test_fields_that_choose(http: TestClient, tmp_path: Path) -> None:
    clips = np.stack([CLIP, CLIP + 1])
    sent_all = sent("clips.npy", npy(np.nan_to_num(clips)))
    told = problem(http.post("/v1/forecast", files=sent_all), 422)
    assert told == "clips.npy holds 2 recordings; choose one with recording, 0 to 1"
    answer = http.post("/v1/forecast", files=sent_all, data={"recording": 1, "steps": 1})
    np.testing.assert_allclose(answer.json()["frames"][0], clips[1, -1], atol=1e-5)
    file = io.BytesIO()
    np.savez(file, rain=CLIP[:3], snow=CLIP[3:6])
    data = {"variable": "snow", "steps": 1, "past": 2}
    answer = http.post("/v1/forecast", files=sent("a.npz", file.getvalue()), data=data)
    np.testing.assert_allclose(answer.json()["frames"][0], CLIP[5], atol=1e-5)
    frames = np.nan_to_num(CLIP[:6])
    for more in ({}, {"past": 1}, {"match": "last"}):
        fields = {"model": "dressed", "steps": 1, "output": "npy", **more}
        answer = http.post("/v1/forecast", files=sent("clip.npy", npy(frames)), data=fields)
        expected = predict(models()["dressed"], frames, steps=1, **more).frames
        np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), expected, atol=1e-5)


def test_the_model_is_by_default_one_for_what_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_threads.use(monkeypatch)
    digits = Forecaster(
        built("tutorial"), Window(4, 3), trained=Trained("moving_mnist", frame=(64, 64))
    )
    scenes = Forecaster(built("dressed_of_any_channels"), Window(4, 3))
    rain = Forecaster(built("quick"), Window(4, 3), Scaling(0, 100, "mm/h", "minmax"))
    served = {"digits": digits, "scenes": scenes, "rain": rain}
    random = np.random.default_rng(0)
    grey, colour = random.random((4, 1, 64, 64)), random.random((4, 3, 32, 32))
    film = Image.fromarray(random.integers(0, 255, (32, 40), np.uint8))
    gif, grid = io.BytesIO(), io.BytesIO()
    film.save(gif, "gif", save_all=True, append_images=[film] * 3)
    rate = xr.DataArray(
        random.random((4, 32, 32)), dims=("time", "y", "x"), attrs={"units": "mm/h"}
    )
    rate.to_dataset(name="rain").to_netcdf(grid, engine="h5netcdf")
    with TestClient(create_app(served, ServeOptions(seconds=20)), OWN) as http:
        for content, ending, model in (
            (npy(grey), "npy", "digits"),
            (npy(colour), "npy", "scenes"),
            (gif.getvalue(), "gif", "scenes"),
            (grid.getvalue(), "nc", "rain"),
        ):
            answer = http.post("/v1/forecast", files=sent(f"a.{ending}", content)).json()
            assert answer.get("model") == model, answer.get("detail")
            assert "digits" not in str(answer["notes"])
        answer = http.post(
            "/v1/forecast", files=sent("a.gif", gif.getvalue()), data={"model": "digits"}
        )
        assert any("only digits" in note for note in answer.json()["notes"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "nix"}, "there is no model nix; choose one of persistence, dressed"),
        ({"output": "exe"}, "there is no output exe"),
        ({"steps": "ten"}, "steps is a whole number, not 'ten'"),
        ({"steps": "-1"}, "steps"),
        ({"steps": "100000000"}, "more than the budget of 1 GiB"),
        ({"stps": "1"}, "there is no field stps; did you mean steps?"),
        ({"device": "cuda"}, "there is no field device"),
        ({"after": "9"}, "after 9: clip.npy has frames 0 to 8"),
        ({"members": "2"}, "has one future"),
        ({"seed": "-1"}, "seed"),
        ({"variable": "rain"}, "clip.npy holds one array, and no variables"),
    ],
)
def test_fields_that_are_refused(http: TestClient, fields: Any, words: str) -> None:
    assert words in problem(http.post("/v1/forecast", files=sent(), data=fields), 422)


def test_uploads_that_are_refused(http: TestClient) -> None:
    def post(**what: Any) -> Any:
        return http.post("/v1/forecast", **what)

    wrong = {"content-type": "multipart/form-data"}
    assert "not a known format" in problem(post(files=sent("../../etc/passwd")), 415)
    assert "passwd.exe: .exe" in problem(post(files=sent("..\\..\\passwd.exe")), 415)
    assert "clip.npy" in problem(post(files=sent(content=b"not an array")), 422)
    assert "send one file" in problem(post(files=sent(content=b"")), 400)
    assert "send one file" in problem(post(files=[*sent().items()] * 2), 400)
    assert "not multipart" in problem(post(content=b"x", headers=wrong), 400)
    assert "multipart/form-data" in problem(post(content=b"x"), 415)
    for frames in ("a", {}, [[1, 2], [3]], [10**400], None):
        problem(post(json={"frames": frames}), 422)
    of_json = {"content-type": "application/json"}
    assert "not JSON" in problem(post(content=b"[" * 10_000, headers=of_json), 400)
    assert "frames" in problem(post(content=b"[]", headers=of_json), 422)


def test_a_large_body_is_refused(http: TestClient) -> None:
    kind = {"content-type": "application/json"}
    large = {"content-length": str(2**40), **kind}
    answer = http.post("/v1/forecast", content=b"x", headers=large)
    assert "at most 1 MiB" in problem(answer, 413)
    chunks = (bytes(2**18) for _ in range(5))
    answer = http.post("/v1/forecast", content=chunks, headers=kind)
    assert "at most 1 MiB" in problem(answer, 413)
    long = b'{"model": "' + b"a" * 2**18 + b'"}'
    answer = http.post("/v1/streams", content=long, headers=kind)
    assert "at most 0.25 MiB" in problem(answer, 413)


def test_words_are_for_a_client(http: TestClient) -> None:
    """Errors do not suggest to change the server's budget, and titles name the client's file."""
    answer = http.post("/v1/forecast", files=sent(), data={"steps": 10**6, "model": "dressed"})
    assert problem(answer, 422).endswith("; forecast less, or in tiles")
    for members in ({}, {"members": 2}):
        asked = {"output": "nc", "model": "dressed", **members}
        answer = http.post("/v1/forecast", files=sent("rain over Bern.npy"), data=asked)
        assert xr.load_dataset(io.BytesIO(answer.content)).title == "rain over Bern.npy"


def test_a_token_is_required_if_the_server_has_one() -> None:
    http = TestClient(create_app(models(), ServeOptions(token="secret")), "http://any.example")
    for path in ("/v1/models", "/metrics"):
        answer = http.get(path)
        assert "Authorization: Bearer" in problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert http.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert http.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
    bearer = {"authorization": "Bearer secret", "origin": "https://other.example"}
    assert http.get("/v1/models", headers=bearer).status_code == 200
    assert http.get("/healthz").status_code == http.get("/").status_code == 200
    described = http.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert described["paths"]["/v1/streams"]["post"]["security"] == [{"token": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},  # whose address is now this machine's
        {"host": "evil.example:8000", "origin": "http://evil.example:8000"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8000"},
        {"origin": "null"},
        {"host": "[::1"},
    ],
)
def test_pages_of_other_sites_are_refused(http: TestClient, headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("POST", "/v1/streams"),
        ("POST", "/v1/forecast"),
    ):
        assert "--hosts" in problem(http.request(method, path, headers=headers), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": OWN},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},
        {"host": "192.168.1.7:8000", "origin": "http://192.168.1.7:8000"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"host": f"{socket.gethostname().upper()}:8000"},
        {"host": "forecasts.example", "origin": "https://forecasts.example"},
        {"host": "127.0.0.1:9000", "origin": "https://forecasts.example"},  # behind a proxy
    ],
)
def test_own_pages_and_programs_are_not_refused(headers: dict[str, str]) -> None:
    options = ServeOptions(hosts=["forecasts.example"])
    http = TestClient(create_app(models(), options), OWN)
    assert http.get("/v1/models", headers=headers).status_code == 200


def test_the_page_loads_only_its_own_scripts(http: TestClient) -> None:
    page = http.get("/")
    assert b"<html" in page.content
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assert "javascript" in http.get("/backend.js").headers["content-type"]
    assert "there is nothing" in problem(http.get("/../app.py"), 404)


def test_a_late_request_is_ended_and_a_busy_service_reports_it(
    http: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = http.app.state.handler
    monkeypatch.setattr(handler, "options", ServeOptions(seconds=0.05))
    killed = in_threads.ThreadAsProcess.killed
    with held(http.app.state.worker):
        answer = http.post("/v1/forecast", files=sent())
    assert "0.05 s" in problem(answer, 504)
    assert in_threads.ThreadAsProcess.killed > killed
    remaining = [handler.next.result().body.parent]
    wait_for(lambda: [*handler.folder.iterdir()] == remaining)  # its thread tidies up
    monkeypatch.setattr(handler, "present", QUEUE)
    answer = http.post("/v1/forecast", files=sent())
    assert "ask again" in problem(answer, 503)
    assert answer.headers["retry-after"] == "1"
