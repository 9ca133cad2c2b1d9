"""Live forecasts: a model state carried from frame to frame."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from foreframe.base.files import atomic_write
from foreframe.base.schema import typed
from foreframe.clips.data_options import GUIDE, NONE
from foreframe.clips.frames import fill_missing, missing_where_unseen
from foreframe.clips.scaling import Scaling
from foreframe.forecasting.forecast_options import ForecastOptions
from foreframe.forecasting.matching import match_members
from foreframe.forecasting.precision import computing
from foreframe.models import forecast_of, with_known
from foreframe.models.footprint import at_once

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Array, Forecaster


class Stream:
    """A live forecast that updates its state with each frame, in constant memory.

    Forecasts equal those of `predict` on all frames so far, in the same precision.

    Attributes:
        options: options of each forecast.
        seen: number of frames pushed.
        source: plain values of the caller about the source of frames; saved and restored with the
            stream.
    """

    def __init__(
        self,
        forecaster: "Forecaster",
        steps: int,
        options: ForecastOptions,
    ) -> None:
        self.forecaster, self.steps, self.options, self.seen = forecaster, steps, options, 0
        self.source: dict[str, Any] = {}
        self.state: dict[str, Tensor] | None = None
        # The last value seen at each pixel, which stands in for missing ones.
        self._last: Tensor | None = None

    @torch.inference_mode()
    def push(self, frame: "Array", known: Any = None) -> "Array":
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
        if not isinstance(frame, Tensor | np.ndarray):
            raise ValueError(
                f"a frame is an array or a tensor (C,H,W), not a {type(frame).__name__}"
            )
        if frame.ndim != 3:
            raise ValueError(
                f"a frame is (C,H,W), but this one has shape {tuple(frame.shape)}; push frames one "
                "at a time"
            )
        if last is not None and tuple(frame.shape) != last.shape[1:]:
            raise ValueError(
                f"a frame of {format_size(frame.shape)}, but the stream began with "
                f"{format_size(last.shape[1:])}"
            )
        f = self.forecaster.fitted(frame[None]) if last is None else self.forecaster
        if isinstance(frame, np.ndarray):
            frame = f.scaling.from_pictures(frame)
        # `_past` refuses frames without any value; after other frames that is only an outage.
        values = frame if isinstance(frame, Tensor) else torch.from_numpy(np.array(frame))
        empty = last is not None and bool(values.isnan().all())
        past = (
            torch.full_like(last, torch.nan) if last is not None and empty else f._past(frame[None])
        )
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
        f, steps = self.forecaster, self.steps if steps is None else checked_steps(steps)
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
        last = self._last[:, : future.shape[2]]
        if options.match not in (None, NONE):
            future = match_members(options.match, future.unsqueeze(0), last, guide)[0]
        last = last.expand(len(future), -1, -1, -1)
        scaling = f.scaling.of(like.dtype) if isinstance(like, np.ndarray) else f.scaling
        future = scaling.to_units(missing_where_unseen(future, last))
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
        other.source = dict(self.source)
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
            seen, last = int(about["seen"]), tensors.pop("last")
            source = json.loads(about["source"])
            scaling = typed(Scaling, json.loads(about["scaling"]), "scaling")
        except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
            raise ValueError(
                f"{path} is no saved stream, or a damaged one; start again without it"
            ) from error
        forecaster = self.forecaster.scaled(scaling)  # a baseline's is that of its first frame
        if about.get("model") != _fingerprint(forecaster):
            raise ValueError(
                f"{path} was saved by another model than this one; start again without it"
            )
        state = self._fitted(
            {name.removeprefix("state."): value for name, value in tensors.items()}, last
        )
        if state is None or seen < 1 or not _is_source(source):
            raise ValueError(f"{path} is no saved stream, or a damaged one; start again without it")
        self.seen, self._last, self.source = seen, last.to(self.forecaster.device), source
        self.state, self.forecaster = state, forecaster
        return self

    @torch.inference_mode()
    def _fitted(self, state: dict[str, Tensor], last: Tensor) -> dict[str, Tensor] | None:
        """The state on the model's device and in this stream's precision.

        None if the model has no such state for frames of that size.
        """
        model = self.forecaster.model
        if last.ndim != 4 or last.dtype != torch.float32 or last.shape[0] != 1 or not last.numel():
            return None
        if model.takes not in (None, last.shape[1]):
            return None
        with self._computing():
            like = model.eval().encode(
                torch.zeros_like(last, device=self.forecaster.device).unsqueeze(1)
            )
        if state.keys() != like.keys():
            return None
        either = {torch.float32, torch.bfloat16}  # of a state, depending on precision
        fitted = {}
        for name, value in like.items():
            saved = state[name]
            if saved.ndim != value.ndim or not (
                saved.dtype == value.dtype or {saved.dtype, value.dtype} <= either
            ):
                return None
            fitted[name] = saved.to(value)
            if not bool(fitted[name].isfinite().all()):
                return None
        return fitted


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


def _is_source(source: Any) -> bool:
    """Whether a saved source has the fields of `foreframe stream`: a path, a number of frames, and
    the name of the last file.
    """
    kinds = {"path": str, "frames": int, "last": str}
    return isinstance(source, dict) and all(
        type(value) is kinds.get(name) for name, value in source.items()
    )


def checked_steps(steps: int) -> int:
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, not {steps}")
    return int(steps)


def format_size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
