"""Models that draw members of another forecaster, whose weights they leave as they are."""

from collections.abc import Sequence

from foreframe.models.interface import Model, State, part_of

ONE = "members are of one model, {name: arguments}"  # what `of` is, in messages


class MembersOf(Model):
    """Draws members of a forecaster, `of`, whose weights are trained before and stay as they are.
    Without members its forecast is that forecaster's, to the bit.

    Attributes:
        losses: by which of them it learns.
    """

    draws = True
    losses: Sequence[str]

    def __init__(self, of: Model) -> None:
        super().__init__()
        self.of = of.requires_grad_(False)
        self.inputs, self.reduces = of.inputs, of.reduces

    def state_of(self, state: State) -> State:
        """The forecaster's state, with what is known of its inputs."""
        known = {"known": state["known"]} if "known" in state else {}
        return part_of(state, "of/") | known

    def start_at(self, mean: float) -> None:
        """Let the forecaster begin so."""
        self.of.start_at(mean)

    def train(self, mode: bool = True) -> "MembersOf":
        super().train(mode)
        self.of.eval()
        return self

    def matching_part(self, trained: Model) -> Model:
        return self if type(trained) is type(self) else self.of
