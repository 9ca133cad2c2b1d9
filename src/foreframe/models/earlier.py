"""What version 0.1 called things: its arguments and weights, under the names of today.

Version 0.1 had one class for all recurrent networks, "convlstm", whose switches are parts of their
own now. Saved folders, checkpoints and configs of then are read through this file, and written as
of today.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from foreframe.base.typed import brief, check_types


@dataclass(frozen=True)
class _Gates:
    bias: bool = True
    peepholes: bool = False
    forget_bias: float = 0.0


@dataclass(frozen=True)
class _Stem:
    patch: int = 1
    widths: Sequence[int] = ()
    skip: Literal["none", "frame", "embedding", "both"] = "none"
    norm: Literal["group", "none"] = "group"


@dataclass(frozen=True)
class _Head:
    kernel: int = 3
    over: Literal["last", "all"] = "last"
    sigmoid: bool = True
    horizon: int = 1
    carry: bool = False
    blurs: Sequence[float] = ()


@dataclass(frozen=True)
class _Network:
    """The arguments of "convlstm", with their defaults."""

    channels: int = 1
    hidden: Sequence[int] = (64, 64)
    kernel: int = 3
    gates: _Gates = _Gates()
    stem: _Stem = _Stem()
    head: _Head = _Head()
    decoder: Literal["fresh", "handed", "mirrored", "same"] = "fresh"
    ahead: Literal["hidden", "frame", "nothing", "guided", "at_once"] = "hidden"
    guide: str | dict[str, Any] = "persistence"


_PRESETS: dict[str, _Network] = {
    "convlstm": _Network(),
    "tutorial": _Network(),
    "shi2015": _Network(
        hidden=(128, 64, 64), kernel=5, gates=_Gates(peepholes=True), stem=_Stem(patch=4),
        head=_Head(kernel=1, over="all"), decoder="mirrored", ahead="nothing",
    ),
    "openstl": _Network(
        hidden=(128,) * 4, kernel=5, gates=_Gates(bias=False), stem=_Stem(patch=4),
        head=_Head(kernel=1, sigmoid=False), decoder="same", ahead="frame",
    ),
    "quick": _Network(
        hidden=(64,), gates=_Gates(forget_bias=1.0), stem=_Stem(widths=(16, 32, 64), skip="frame"),
        head=_Head(sigmoid=False, carry=True), decoder="handed",
    ),
    "nowcast": _Network(
        hidden=(48,), gates=_Gates(forget_bias=1.0),
        stem=_Stem(widths=(24, 48), skip="frame", norm="none"),
        head=_Head(sigmoid=False, blurs=(1.5, 4.0, 10.0)), decoder="handed", ahead="guided",
        guide="optical_flow",
    ),
}  # fmt: skip
_START = {"fresh": "zeros", "handed": "states", "mirrored": "mirrored"}
_SAME = ("frame", "at_once")
_FEED = {"hidden": "maps", "frame": "frame", "nothing": "nothing"}


def arguments(name: Any, args: Any) -> tuple[Any, Any]:
    """A model's name and arguments, with those of version 0.1 in today's terms.

    Raises:
        ValueError: arguments of then that did not make a network then either.
    """
    if not isinstance(name, str) or name not in _PRESETS or not isinstance(args, Mapping):
        return name, args
    if name != "convlstm" and not _is_former(args):
        return name, args
    check_types(_Network, args, f"model {name}")
    return _recomposed(_changed(_PRESETS[name], args))


def _is_former(args: Mapping[Any, Any]) -> bool:
    """Whether these are arguments of version 0.1."""
    return any(field.name in args for field in fields(_Network) if field.name != "channels")


def _changed(known: Any, changes: Mapping[str, Any]) -> Any:
    """Nested too: what a mapping does not name stays as it is."""
    values = dict(changes)
    for name, value in changes.items():
        before = getattr(known, name)
        values[name] = _changed(before, value) if is_dataclass(before) else value
    return replace(known, **values)


def _recomposed(old: _Network) -> tuple[str, dict[str, Any]]:
    """A network of then -> a model of today, and its arguments."""
    gates, stem, head = old.gates, old.stem, old.head
    _check_choices(old)
    shows_last = stem.skip in ("frame", "both")
    codec: dict[str, Any] = {"patches": {"size": stem.patch, "show_last": shows_last}}
    if stem.widths:
        widths = {"widths": list(stem.widths), "norm": stem.norm}
        codec = {"strided": {**widths, "show_last": shows_last}}
    core = {"hidden": list(old.hidden), "kernel": old.kernel, **vars(gates)}
    args = {"channels": old.channels, "core": {"convlstm": core}, "codec": codec}
    over = {"kernel": head.kernel, "over": head.over}
    draw = {**over, "sigmoid": head.sigmoid, "bias": gates.bias}
    if old.ahead == "at_once":
        return "at_once", args | {"horizon": head.horizon, "draw": draw}
    if old.decoder == "same":
        return "next_frame", args | {"draw": draw}
    if old.ahead == "guided":
        output = {"correct": {**over, "guide": _guide(old.guide)}}
        if head.blurs:
            output = {"mix": {**output["correct"], "blurs": list(head.blurs)}}
    elif head.carry:
        output = {"carry": {**over, "feed": _FEED[old.ahead]}}
    else:
        output = {"draw": {**draw, "feed": _FEED[old.ahead]}}
    return "encoder_decoder", args | {
        "start": _START[old.decoder],
        "output": output,
        "embedding": stem.skip in ("embedding", "both"),
        "attention": 0,
        "backward": 0,
    }


def _check_choices(old: _Network) -> None:
    """Refuse what did not go together, of which today a part would be left out unsaid."""
    stem, head = old.stem, old.head
    same, guided = old.decoder == "same", old.ahead == "guided"
    for wrong, what in (
        (stem.widths and stem.patch != 1, "a stem had a patch or widths"),
        (same and old.ahead not in _SAME, f"decoder same took ahead {' or '.join(_SAME)}"),
        (old.ahead == "at_once" and not same, "ahead at_once took decoder same"),
        (head.horizon != 1 and old.ahead != "at_once", "head.horizon went with ahead at_once"),
        (head.blurs and not guided, "head.blurs went with ahead guided"),
        (head.carry and (same or guided or old.ahead == "frame"), "head.carry took no frames"),
        (head.carry and head.sigmoid, "head.carry took head.sigmoid false"),
        (guided and head.sigmoid, "ahead guided took head.sigmoid false"),
        (same and stem.skip in ("embedding", "both"), "skip embedding took a decoder of its own"),
    ):
        if wrong:
            raise ValueError(
                f"{what} in version 0.1, whose arguments these are; docs/models.md has today's"
            )


def _guide(guide: Any) -> Any:
    """{"name": "cycle", "period": 24} -> {"cycle": {"period": 24}}."""
    if not isinstance(guide, Mapping):
        return guide
    if not isinstance(guide.get("name"), str):
        raise ValueError(f"a guide of version 0.1 has a name, not {brief(guide.get('name'))}")
    return {guide["name"]: {name: value for name, value in guide.items() if name != "name"}}


_OFFSET = {"openstl": {"forget_bias": 1.0}}


def former_arguments(name: str, args: Mapping[str, Any]) -> dict[str, Any] | None:
    """What these arguments of a preset meant before the preset itself changed, for runs from then.

    None where it has not changed since.
    """
    if name not in _OFFSET or not (_is_former(args) or set(args) <= {"channels"}):
        return None
    return {**args, "gates": {**_OFFSET[name], **args.get("gates", {})}}


WEIGHTS = {
    "to_maps.": "codec.",
    "encoder.": "encoder.cells.",
    "forecaster.": "decoder.cells.",
    "to_frame.last.": "output.last.",
    "to_frame.": "up.",
    "carry.": "output.",
}


def checkpoint(values: dict[str, Any]) -> dict[str, Any]:
    """A training's checkpoint, with what it says of its network in today's terms; changed in place.

    The order of the parameters, by which an optimizer knows them, is the same.
    """
    forecaster, state = values.get("forecaster"), values.get("state_dict")
    if isinstance(forecaster, Mapping) and forecaster.get("model") == "convlstm":
        name, args = arguments("convlstm", forecaster.get("args"))
        values["forecaster"] = {**forecaster, "model": name, "args": args}
        if isinstance(state, Mapping):
            values["state_dict"] = {
                f"network.{_weight(str(key).removeprefix('network.'))}": value
                for key, value in state.items()
            }
    return values


def weights(old: Mapping[Any, Any], name: Any) -> Mapping[Any, Any]:
    """A network's weights under today's names; the model's `name` tells those of version 0.1."""
    if name != "convlstm":
        return old
    return {_weight(key): value for key, value in old.items()}


def former_weights(now: Mapping[str, Any], name: Any) -> dict[str, Any] | None:
    """The other way: weights under the names that version 0.1 gave them in a model of this `name`.

    None for other models, whose weights keep their names.
    """
    if name != "convlstm":
        return None
    names = {after: before for before, after in WEIGHTS.items()}
    return {_weight(key, names): value for key, value in now.items()}


def _weight(key: Any, names: Mapping[str, str] = WEIGHTS) -> Any:
    for before, after in names.items():
        if isinstance(key, str) and key.startswith(before):
            return after + key.removeprefix(before)
    return key
