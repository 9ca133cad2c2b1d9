"""The folder of a training, and its results."""

import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreframe.evaluation import EvaluateOptions
from foreframe.forecasting.forecast_options import changed
from foreframe.visuals import Card, curves_png, image_html

if TYPE_CHECKING:
    from foreframe.forecasting.forecaster import Forecaster


@dataclass(frozen=True)
class Run:
    """The folder of a training, and its results, with a display in notebooks.

        run = foreframe.open_run("runs/demo")
        forecaster, errors = run.forecaster(), run.scores

    Args:
        folder: the folder of config.yaml, checkpoints, validation.jsonl and pictures.
        data: the data of training if they were in memory.

    Raises:
        ValueError: the folder has no run.
    """

    folder: Path
    data: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        if not (self.folder / "config.yaml").is_file():
            raise ValueError(f"there is no run in {self.folder} (no config.yaml in it)")

    def __repr__(self) -> str:
        """Return the folder, and the last and best validation."""
        rows = self.scores
        if not rows:
            return f"Run {self.folder}: no validation yet"
        errors = [row["scores"]["openstl"]["mse"]["overall"] for row in rows]
        return (
            f"Run {self.folder}: {rows[-1]['step']} steps, {len(rows)} validations\n"
            f"  MSE (openstl) {errors[-1]:.4g} at the last one, {min(errors):.4g} at the best"
        )

    def __fspath__(self) -> str:
        return str(self.folder)

    def forecaster(self, device: str = "cpu") -> "Forecaster":
        """Load the best checkpoint; raises as `Forecaster.load`."""
        from foreframe.forecasting.forecaster import Forecaster

        return Forecaster.load(self.folder, device)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Validations in order: {"epoch", "step", "seconds" of training,
        "clips", "scores": {convention: {score: {"overall", "per_lead"}}}}.
        """
        file = self.folder / "validation.jsonl"
        if not file.is_file():
            return []
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def evaluate(self, **options: Any) -> Card:
        """Return the scorecard, by default of the test split. Options: `foreframe.evaluate`."""
        from foreframe.evaluation.scored import evaluate_forecaster

        return evaluate_forecaster(self, changed(EvaluateOptions(), options))

    def _repr_html_(self) -> str:
        """Show the validations, as text and as curves, and the last picture."""
        rows, pngs = self.scores, []
        curves = {"MSE (openstl)": ("openstl", "mse"), "SSIM (standard)": ("standard", "ssim")}
        if rows:
            lines = {
                title: {"validation": [row["scores"][of][name]["overall"] for row in rows]}
                for title, (of, name) in curves.items()
            }
            pngs.append(curves_png(lines, "validations"))
        pictures = sorted((self.folder / "pictures").glob("step-*.png"))
        pngs += [path.read_bytes() for path in pictures[-1:]]
        images = "".join(f"<div>{image_html(png, 'scores and forecast')}</div>" for png in pngs)
        return f"<pre>{escape(repr(self))}</pre>{images}"
