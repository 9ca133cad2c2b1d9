"""Live forecasts: a model state carried from frame to frame."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor

from foreframe.base.files import atomic_write
from foreframe.base.schema import converted, typed
from foreframe.clips.data_options import GUIDE, check_at_least
from foreframe.clips.frames import fill_missing
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.precision import computing
from foreframe.models import forecast_of, with_known
from foreframe.models.footprint import at_once

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster

Array = TypeVar("Array", Tensor, np.ndarray)


class Source(TypedDict, total=False):
    """Where a stream's frames come from: the path, and the number of frames read from a file or the
    name of the last file of a folder.
    """

    path: str
    frames: int
    last: str


class Stream:
    """A live forecast that updates its state with each frame, in constant memory.

    Forecasts equal those of `predict` on all frames so far, in the same precision.

    Attributes:
        options: options of each forecast.
        seen: number of frames pushed.
        source: where the caller is in the source of frames; saved and restored with the stream.
    """

    def __init__(self, forecaster: "Forecaster", steps: int, options: ForecastOptions) -> None:
        self.forecaster, self.steps, self.options, self.seen = forecaster, steps, options, 0
        self.source: dict[str, Any] = {}
        self.state: dict[str, Tensor] | None = None
        # The last value seen at each pixel, which stands in for missing ones.
        self._last: Tensor | None = None

    def push(self, frame: Array, known: Any = None) -> Array:
        """Take a frame (C,H,W) and return the forecast after it, (steps,C,H,W) or
        (members,steps,C,H,W), in the data's units.

        8-bit frames are 0 to 255 even if the model was trained on 0 to 1, as in a `Clip`. NaN is a
        missing value; after the first frame, a frame of nothing but NaN only advances time.

        Raises:
            ValueError: as `Forecaster.predict`, or a frame of another size than before; the state
                is then unchanged.
        """
        self.take(frame)
        return self.forecast(like=frame, known=known)

    @torch.inference_mode()
    def take(self, frame: Any) -> None:
        """Take a frame without forecasting; errors as in `push`."""
        last = self._last
        if not isinstance(frame, Tensor | np.ndarray) or frame.ndim != 3:
            kind = getattr(frame, "shape", type(frame).__name__)
            raise ValueError(f"a frame is an array or a tensor (C,H,W), one at a time, not {kind}")
        if last is not None and frame.shape != last.shape[1:]:
            raise ValueError(
                f"a frame of {tuple(frame.shape)}, but the stream began with "
                f"{tuple(last.shape[1:])}"
            )
        f = self.forecaster.fitted(frame[None]) if last is None else self.forecaster
        if isinstance(frame, np.ndarray):
            frame = f.scaling.from_pictures(frame)
        if last is not None and bool((frame != frame).all()):  # nothing but NaN: an outage
            past = torch.full_like(last, torch.nan)
        else:
            past = f.past(frame[None])
        f.model.eval()
        past, last = fill_missing(past.unsqueeze(0), last)
        with self._computing():
            state = f.model.encode(past, self.state)
        # In a single statement: Ctrl-C may come at any time.
        self.forecaster, self.state, self._last, self.seen = f, state, last, self.seen + 1

    @torch.inference_mode()
    def forecast(self, steps: int | None = None, like: Any = None, known: Any = None) -> Any:
        """Forecast (steps,C,H,W) from the frames so far: a tensor, or an array if `like` is one, on
        0 to 255 if that has 8 bits. `known` as in `Forecaster.predict`.

        Raises:
            ValueError: before the first frame; inputs that do not fit.
        """
        if self.state is None or self._last is None:
            raise ValueError("this stream has seen no frame yet: push one first")
        f, steps = self.forecaster, self.steps if steps is None else steps
        check_at_least(1, steps=steps)
        frame, options = self._last.shape[1:], self.options
        ensemble = f.ensemble_request(options)
        f.check_size((1, *frame), steps, options)
        group = at_once(f.model, options.members or 1, 1, frame, steps, ensemble is not None)
        with self._computing():
            state = self.state
            if known is not None:
                state = with_known(state, f.known_inputs(known, self._last))
            guided = options.match == GUIDE
            future, guide = forecast_of(f.model, state, steps, guided, ensemble, group)
        dtype = like.dtype if isinstance(like, np.ndarray) else None
        future = f.finished(future, self._last, guide, options, dtype)[:, 0]
        future = future[0] if ensemble is None else future
        if isinstance(like, np.ndarray):
            return future.cpu().numpy()
        return future if like is None else future.to(like.device)

    def _computing(self) -> AbstractContextManager[Any]:
        return computing(self.options.precision, self.forecaster.device)

    def fork(self) -> "Stream":
        """A copy of this stream, independent from here on."""
        other = Stream(self.forecaster, self.steps, self.options)
        # States are never changed, only replaced.
        other.state, other._last, other.seen = self.state, self._last, self.seen
        other.source = self.source.copy()
        return other

    def save(self, path: str | Path) -> None:
        """Write the stream's state to a file (safetensors), for `restore` in another process.

        Raises:
            ValueError: before the first frame, or the file cannot be written.
        """
        from safetensors.torch import save

        if self.state is None or self._last is None:
            raise ValueError("this stream has seen no frame yet: there is nothing to save")
        tensors = {f"state.{name}": value for name, value in self.state.items()}
        tensors["last"] = self._last
        # Copies: a state may be the last frame itself, and safetensors refuses shared memory.
        content = {
            name: value.cpu().clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }
        about = {
            "seen": str(self.seen),
            "model": _fingerprint(self.forecaster),
            "scaling": json.dumps(self.forecaster.scaling.config()),
            "source": json.dumps(self.source),
        }
        with atomic_write(path) as rough:
            rough.write_bytes(save(content, about))

    def restore(self, path: str | Path) -> "Stream":
        """Continue from a file of `save`; returns this stream.

        A state in another precision is converted to this stream's.

        Raises:
            ValueError: no such file, a damaged one, or a state of another model.
        """
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise ValueError(f"there is no saved stream {path}")
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                # A safetensors file is no dict: it has keys(), and cannot be iterated over.
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            seen, last = int(about["seen"]), tensors.pop("last").float()
            source = dict(converted(json.loads(about["source"]), Source, "source"))
            scaling = typed(Scaling, json.loads(about["scaling"]), "scaling")
            forecaster = self.forecaster.scaled(scaling)  # a baseline's is that of its first frame
            if about["model"] != _fingerprint(forecaster) or seen < 1 or len(last) != 1:
                raise ValueError("another model, or no frame")
            state = self._fitted({n.removeprefix("state."): t for n, t in tensors.items()}, last)
        except (
            SafetensorError,
            LookupError,
            TypeError,
            ValueError,
            RuntimeError,
            OSError,
        ) as error:
            raise ValueError(
                f"{path} is no saved stream of this model, or a damaged one; start again without it"
            ) from error
        self.seen, self._last, self.source = seen, last.to(self.forecaster.device), source
        self.state, self.forecaster = state, forecaster
        return self

    @torch.inference_mode()
    def _fitted(self, state: Mapping[str, Tensor], last: Tensor) -> dict[str, Tensor]:
        """The state on the model's device and in this stream's precision.

        Raises:
            ValueError: the model has no such state for frames of that size.
        """
        model = self.forecaster.model
        with self._computing():
            like = model.eval().encode(
                torch.zeros_like(last, device=self.forecaster.device).unsqueeze(1)
            )
        for name in {*like, *state}:
            saved, value = state[name], like[name]
            same_kind = saved.is_floating_point() == value.is_floating_point()
            if saved.ndim != value.ndim or not same_kind or not saved.isfinite().all():
                raise ValueError(name)
        return {name: state[name].to(value) for name, value in like.items()}


def _fingerprint(forecaster: "Forecaster") -> str:
    """A digest of a network's arguments, scaling and weights."""
    config = forecaster.config()
    network = [config["model"], config["args"], config["scaling"]]
    digest = hashlib.sha256(json.dumps(network, sort_keys=True).encode())
    for name, value in sorted(forecaster.model.state_dict().items()):
        digest.update(
            name.encode()
            + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()
