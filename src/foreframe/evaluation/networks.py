"""What every network that is scored is shown of a batch of clips, and what it makes of them."""

from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from foreframe.data.datasets import clip_set
from foreframe.forecaster import Forecaster
from foreframe.models import Drawn, Model, Parts, forecast_of, with_known
from foreframe.precision import EXACT, computing


def inputs_of(forecaster: Forecaster, dataset: Dataset) -> int:
    """How many channels of the clips are inputs; a baseline sees none, whatever they have."""
    return forecaster.model.inputs or clip_set(dataset).inputs


def forecast_clips(
    network: Model,
    parts: Parts,
    precision: str = EXACT,
    guided: bool = False,
    drawn: Drawn | None = None,
) -> tuple[Float[Tensor, "n s c h w"], Float[Tensor, "n s c h w"] | None]:
    """Of all frames that are scored, as of `foreframe.models.forecast_of`; baselines see no
    inputs.
    """
    past = parts.past if network.inputs else parts.past_of_targets
    known = parts.known if network.inputs else None
    steps = parts.truth.shape[1]
    with computing(precision, past.device):
        state = network.eval().encode(past)
        state = state if known is None else with_known(state, known)
        return forecast_of(network, state, steps, guided, drawn)


def members_of(
    network: Model, parts: Parts, precision: str, drawn: Drawn
) -> Float[Tensor, "b m s c h w"]:
    """The same of each clip's members."""
    future, _ = forecast_clips(network, parts, precision, drawn=drawn)
    return future.unflatten(0, (-1, drawn.n))
