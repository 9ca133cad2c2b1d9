"""The printed tables of a scorecard."""

import io
import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

LEADS = {"rmse": 6}  # columns of the only score of a table; other scores have 3
WIDTH, NAME = 80, 17  # characters of a line and of a name


def heading(score: str) -> str:
    """Return the name of a score as an error (lower is better)."""
    return "1-SSIM" if score == "ssim" else score.upper()


class Table(NamedTuple):
    """A table of text; `str` formats it.

    Attributes:
        title: of the table.
        columns: two lines of each head: the score, on the first of its columns, and the lead time.
        rows: the cells of each forecaster; the best baseline of a score has a star.
        notes: explanations, a line each.
    """

    title: str
    columns: list[tuple[str, str]]
    rows: dict[str, list[str]]
    notes: list[str]

    def __str__(self) -> str:
        from rich import box, console, table

        shown = table.Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1)
        )
        shown.add_column("", max_width=NAME)
        for head in self.columns:
            shown.add_column("\n".join(filter(None, head)), justify="right", no_wrap=True)
        for name, cells in self.rows.items():
            shown.add_row(name, *cells)
        file = io.StringIO()
        # No number is cut off, and a notebook gets plain text, too.
        plain: dict[str, Any] = {"force_jupyter": False, "force_terminal": False}
        console.Console(file=file, width=200, markup=False, **plain).print(shown)
        lines = map(str.rstrip, file.getvalue().splitlines())
        return "\n".join([wrap(self.title), "", *lines, "", *map(wrap, self.notes)]).rstrip()


def score_table(card: Mapping[str, Any]) -> Table:
    """Return the errors of all forecasters, over all lead times and at some of them, and for the
    first score the 95 % interval of each row's error relative to the reference.

    Errors of films are relative to persistence, or the MSE without it (see `has_ratios`). Data with
    units have the RMSE in these units.

    Args:
        card: from `foreframe.evaluation.card.score_clips`, or its JSON.
    """
    units, scores, ratios = card["units"], card["relative"], has_ratios(card)
    if units or not ratios:
        convention, score = ("physical", "rmse") if units else ("standard", "mse")
        scores = {name: {score: of[convention][score]} for name, of in card["scores"].items()}
    some = [of for of in card["comparison"].values() if of["low"] is not None]
    columns: list[tuple[str, str]] = []
    rows: dict[str, list[str]] = {name: [] for name in scores}
    for k, score in enumerate(next(iter(scores.values()))):
        leads = some_leads(card["future"], LEADS.get(score, 3))
        with_interval = bool(some) and k == 0
        columns.append((heading(score) + (f", {units}" if units else ""), "all"))
        columns += [("x 1st row", "95 %")] if with_interval else []
        columns += [("", f"+{lead}") for lead in leads]
        best = card["best_baseline"].get(score)
        for name, of in scores.items():
            rows[name].append(("*" if name == best else "") + figure(of[score]["overall"]))
            rows[name] += [_interval(card, name, score)] if with_interval else []
            rows[name] += [figure(of[score]["per_lead"][lead - 1]) for lead in leads]
    still = "The frames hardly change, so errors are absolute."
    notes = [still] if card["relative"] and not units else []
    notes = ["1.00: the error of the last frame repeated (persistence)."] if ratios else notes
    notes += ["*: the best baseline."] if card["best_baseline"] else []
    lines = [" ".join(notes)] if notes else []
    if some:
        lines.append(
            "x 1st row: the error divided by that of the first row, 95 % interval from a paired "
            f"bootstrap of {some[0]['n']} {some[0]['over']}. If it contains 1, the difference may "
            "be chance."
        )
    return Table(title_of(card), columns, rows, lines)


def has_ratios(card: Mapping[str, Any]) -> bool:
    """Return whether a film's errors are relative to persistence, which was scored and whose error
    is not too small.
    """
    own = card["relative"].get("persistence", {}).get("mse", {}).get("overall")
    return not (card["units"] or own is None or math.isnan(own))


def _interval(card: Mapping[str, Any], name: str, score: str) -> str:
    """Format the 95 % interval of a row's error relative to the reference; a dash without one."""
    if name == card["reference"]:
        return ""
    of = card["comparison"][name]
    of = of if score == "mse" else of[score]
    ends = [figure(of["ratio_low"]), figure(of["ratio_high"])]
    return "-" if "-" in ends else "-".join(ends)


# The two lines of a head, and the score of members.
OF_MEMBERS = {
    ("spread", "/skill"): "spread_skill",
    ("sharp-", "ness"): "sharpness",
    ("power", "at 8"): "power_at_8",
    ("", "ink"): "ink",
}


def ensemble_table(card: Mapping[str, Any]) -> Table:
    """Return the scores of ensembles, and of single forecasts, whose CRPS is the MAE.

    Args:
        card: with an "ensemble", from `foreframe.evaluation.card.score_clips`, or its JSON.
    """
    units, leads = card["units"], some_leads(card["future"], 3)
    convention, scale = ("physical", 1.0) if units else ("standard", 1000.0)
    columns = [(f"CRPS, {units}" if units else "CRPS", "all")]
    columns += [*(("", f"+{lead}") for lead in leads), *OF_MEMBERS]

    def of_errors(errors: Mapping[str, Any]) -> list[str]:
        every = [errors["overall"], *(errors["per_lead"][lead - 1] for lead in leads)]
        return [figure(None if value is None else scale * value) for value in every]

    rows = {}
    for name, of in card["ensemble"].items():
        if name != "seed":
            others = [of["scores"]["standard"][key]["overall"] for key in OF_MEMBERS.values()]
            cells = of_errors(of["scores"][convention]["fair_crps"])
            rows[f"{name} ({of['members']})"] = [*cells, *map(figure, others)]
    for name in dict.fromkeys([card["reference"], *list(card["best_baseline"].values())[:1]]):
        errors = of_errors(card["scores"][name][convention]["mae"])
        rows[name] = errors + [""] * len(OF_MEMBERS)
    notes = [
        f"In brackets: members; without, one forecast, as above. CRPS{'' if units else ' (x 1000)'}"
        ": the fair one; of one forecast its mean absolute error. spread/skill: 1 where members "
        "differ as they err. sharpness, power at 8 pixels: of members over the truth's; ink: how "
        "members differ in brightness, 0 where things only move.",
    ]
    return Table("Members", columns, rows, notes)


PERCEPTUAL = {"ms_ssim": "MS-SSIM", "lpips_alex": "LPIPS, alex", "lpips_vgg": "LPIPS, vgg"}


def further_tables(card: Mapping[str, Any]) -> Iterator[Table]:
    """Yield tables of MS-SSIM and LPIPS, and of events, if these were scored. The first table has
    the convention of DMVFN (Hu et al. 2023, CVPR): scores are times 100, and t+k is the mean of the
    first k frames.
    """
    scored, leads = card["scores"][card["reference"]]["standard"], some_leads(card["future"], 3)
    shown = [(score, lead) for score in PERCEPTUAL if score in scored for lead in leads]

    def cell(of: Mapping[str, Any], score: str, lead: int) -> str:
        return number(100 * np.array(of["standard"][score]["per_lead"][:lead], float).mean(), ".2f")

    columns = [(PERCEPTUAL[score] if lead == 1 else "", f"t+{lead}") for score, lead in shown]
    rows = {row: [cell(of, *each) for each in shown] for row, of in card["scores"].items()}
    if shown:
        yield Table("Times 100; t+k: averaged over frames 1 to k", columns, rows, [])
    yield from _event_tables(card)


def _event_tables(card: Mapping[str, Any]) -> Iterator[Table]:
    """Yield tables by lead time: the CSI of each threshold, and its FSS at each scale."""
    leads = some_leads(card["future"], 8)
    columns = [("", f"+{lead}") for lead in leads]

    def table(title: str, of: Mapping[str, Mapping[str, Any]]) -> Table:
        rows = {
            name: [number(score["per_lead"][lead - 1], ".3f") for lead in leads]
            for name, score in of.items()
        }
        return Table(f"{title} by lead time", columns, rows, [])

    events = card["events"]
    for threshold, scores in events.get(card["reference"], {}).items():
        csi = {name: of[threshold]["csi"] for name, of in events.items()}
        yield table(f"CSI at {threshold}", csi)
        for scale in scores["fss"]:
            fss = {name: of[threshold]["fss"][scale] for name, of in events.items()}
            yield table(f"FSS at {threshold}, {scale} pixels,", fss)


def figures(card: Mapping[str, Any]) -> str:
    """Format the scores of the reference by the conventions of the field."""
    who = card["reference"]
    openstl, standard = (
        {score: of["overall"] for score, of in card["scores"][who][convention].items()}
        for convention in ("openstl", "standard")
    )
    return (
        f"Scores of {'the model' if who == 'model' else who}: "
        f"MSE {number(openstl['mse'], '.2f')}, MAE {number(openstl['mae'], '.2f')}, "
        f"SSIM {number(openstl['ssim'], '.4f')}, PSNR {number(openstl['psnr'], '.2f')} "
        f"(openstl: sums over a frame); MSE {number(standard['mse'], '.5f')}, "
        f"SSIM {number(standard['ssim'], '.4f')} (standard: means a pixel)."
    )


def title_of(card: Mapping[str, Any]) -> str:
    """Return the title of a scorecard: clips, data, and numbers of frames."""
    data = f" of {card['data']} ({card['split']})" if "data" in card else ""
    return f"{card['clips']} clips{data}, {card['past']} frames in, {card['future']} out"


def some_leads(future: int, most: int) -> list[int]:
    """Choose lead times to show: all, or `most` evenly spread ones with the first and the last."""
    return np.linspace(1, future, min(future, most)).round().astype(int).tolist()


def wrap(text: str) -> str:
    """Break text into lines of `WIDTH` characters, but not before %."""
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}", " ")


def figure(value: float | None) -> str:
    """Format a number in few characters; a dash for None and NaN."""
    if value is None or not 0.1 <= abs(value) < 1e5:
        return number(value, ".2g")
    return number(value, ".2f" if abs(value) < 10 else ".1f" if abs(value) < 100 else ".0f")


def number(value: float | None, form: str) -> str:
    """Format a number; a dash for None and NaN."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)
