"""The baselines that guide a network, run as one model, and the evidence of how good each is."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foreframe.base.schema import choice
from foreframe.models.baselines import guide_of
from foreframe.models.checks import at_least
from foreframe.models.interface import (
    Future,
    Model,
    State,
    deciding_size,
    gather_frames,
    part_of,
    push_ring,
    where_states,
    with_prefix,
)
from foreframe.models.motion import EVIDENCE, DenseMotion, blurred, exactly
from foreframe.models.registry import BASELINES

SMALL = 2**18  # pixels of a frame; of larger ones motion fills the memory
HINDCAST_LEADS = (0.2, 0.6, 1.0)  # of the hindcast's frames


def evidence_channels(guides: Sequence[str | Mapping[str, Any]], hindcast: int) -> int:
    """Return the channels of the evidence of `Guides` with these arguments."""
    kinds = [BASELINES[choice(BASELINES, guide, "guide")[0]] for guide in guides]
    moves = any(issubclass(kind, DenseMotion) for kind in kinds)
    return EVIDENCE * moves + len(HINDCAST_LEADS) * len(guides) * (hindcast > 0)


class Guides(Model):
    """Several baselines as one model: their frames side by side along channels.

    Args:
        guides: names of `BASELINES`, or {name: its arguments}.
        hindcast: frames of the past that each guide forecasts from those before them, as evidence
            of how good it is; fewer where fewer were seen; 0 for none.

    Raises:
        ValueError: no guides, an unknown name, arguments that it does not take; a hindcast below 0.
    """

    def __init__(self, guides: Sequence[str | Mapping[str, Any]], hindcast: int = 0) -> None:
        super().__init__()
        if not guides:
            raise ValueError('guides are names of baselines, such as ["dense_motion"]')
        at_least(0, hindcast=hindcast)
        self.each = [guide_of(guide) for guide in guides]  # without weights
        self.hindcast = hindcast
        self.sized = any(guide.sized for guide in self.each)
        self.moves = any(isinstance(guide, DenseMotion) for guide in self.each)

    def encode(self, past: Float[Tensor, "b t c h w"], state: State | None = None) -> State:
        encoded = self._each(lambda guide, own: guide.encode(past, own or None), state or {})
        if not self.hindcast:
            return encoded
        if state is not None:
            for frame in past.split(1, dim=1):
                state = self._push_hindcast(frame, state)
            return encoded | state
        # The first frame, and those before the last ones, by which the forecast from it is judged.
        t, n = past.shape[1], self.hindcast
        first = max(t - n, 1)
        return (
            encoded
            | with_prefix("early/", self._each(lambda guide, _: guide.encode(past[:, :first]), {}))
            | {"recent": push_ring(past[:, first:], None, n, "recent")["recent"]}
            | {"seen": past.new_full((past.shape[0],), min(t, n + 1))}
        )

    def exogenous(self, state: State, steps: int) -> State:
        entering = self._each(lambda guide, own: guide.exogenous(own, steps), state)
        if self.hindcast and (early := part_of(state, "early/")):
            entering |= with_prefix("early/", self.exogenous(early, steps))
        return entering

    def begin(self, state: State) -> State:
        """Prepare to step. `evidence` (b,e,h,w), if there is any, has the evidence of the first
        dense motion and the errors of all hindcasts.
        """
        early = part_of(state, "early/")
        if early and math.prod(deciding_size(state["recent"].shape[-2:])) <= SMALL:
            # Hindcasts and forecast in one batch: half as many operations and nodes of a graph.
            both = {name: torch.cat([state[name], value]) for name, value in early.items()}
            begun, b = self._begun(both), state["seen"].shape[0]
            early = {name: value[b:] for name, value in begun.items()}
            begun = {name: value[:b] for name, value in begun.items()}
        else:
            begun, early = self._begun(state), self._begun(early) if early else {}
        evidence: list[Tensor] = []
        for k, guide in enumerate(self.each):
            if isinstance(guide, DenseMotion) and not evidence:
                evidence.append(guide.evidence(part_of(state, f"{k}/"), begun[f"{k}/V"]))
        if early:
            evidence.append(self.hindcast_errors(state, early))
        return begun | ({"evidence": torch.cat(evidence, dim=1)} if evidence else {})

    def _begun(self, state: State) -> State:
        return self._each(lambda guide, own: guide.begin(own), state)

    def step(self, state: State, last: bool = False) -> tuple[Float[Tensor, "b 1 _ h w"], State]:
        """The guides' frames, side by side."""
        each = [*self.forecasts(state, 1)]
        begun = {name: value for _, own in each for name, value in own.items()}
        return torch.cat([frames for frames, _ in each], dim=2), state | begun

    def forecasts(self, state: State, steps: int) -> Iterator[tuple[Future, State]]:
        """The next frames of each guide, and its state after them: one guide after the other, as
        large frames fill the memory.
        """
        for k, guide in enumerate(self.each):
            frames, own = guide.advance(part_of(state, f"{k}/"), steps)
            yield frames, with_prefix(f"{k}/", own)

    def hindcast_errors(self, state: State, early: State) -> Float[Tensor, "b _ h w"]:
        """The logarithms of the squared errors of each guide's hindcast, one, some and `hindcast`
        frames ahead, from a state `early` that is ready to step; 0 where a single frame was seen.
        """
        n, recent = self.hindcast, state["recent"].float()
        seen = (state["seen"] - 1).clamp(0, n).long()  # of a stranger's state, too
        some = [max(1, round(lead * n)) for lead in HINDCAST_LEADS]
        leads = torch.minimum(seen[:, None], torch.tensor(some, device=seen.device)).clamp(min=1)
        errors = []
        with exactly(recent):
            for k, guide in enumerate(self.each):
                own, squares = part_of(early, f"{k}/"), []
                for ahead in range(n):  # one by one, as large frames fill the memory
                    frame, own = guide.step(own, last=ahead == n - 1)
                    truth = gather_frames(recent, (n - seen[:, None] + ahead).clamp(max=n - 1))
                    squares.append((frame.float() - truth).square().mean(dim=2))
                error = gather_frames(torch.cat(squares, dim=1), leads - 1)
                error = (blurred(error, 1.5) + 1e-5).log() / 3 + 2.5
                errors.append(error.where((seen > 0).view(-1, 1, 1, 1), 0))
        return torch.cat(errors, dim=1)

    def _each(self, of: Callable[[Model, State], State], state: State) -> State:
        """The states that `of` gives of each guide and its own part of the state."""
        states: State = {}
        for k, guide in enumerate(self.each):
            states |= with_prefix(f"{k}/", of(guide, part_of(state, f"{k}/")))
        return states

    def _push_hindcast(self, frame: Future, state: State) -> State:
        """The hindcast's state with a further frame among the recent ones. The oldest of these,
        where there are `hindcast` already, and the very first frame are those that hindcasts begin
        from.
        """
        recent, seen, early = state["recent"], state["seen"], part_of(state, "early/")
        first = (seen == 0).view(-1, 1, 1, 1, 1)
        oldest = frame.where(first, recent[:, :1].to(frame))
        encoded = self._each(lambda guide, own: guide.encode(oldest, own), early)
        early = where_states((seen == 0) | (seen > self.hindcast), encoded, early)
        return with_prefix("early/", early) | {
            "recent": recent.where(first, torch.cat([recent[:, 1:], frame.to(recent)], dim=1)),
            "seen": (seen + 1).clamp(max=self.hindcast + 1),
        }
