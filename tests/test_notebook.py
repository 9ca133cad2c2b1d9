"""The notebook runs from top to bottom, says what it should, and nothing else."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook" / "film.ipynb"


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_short_and_small() -> None:
    cells = code_of(nbformat.read(NOTEBOOK, as_version=4))
    lines = [line for cell in cells for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= 10
    assert NOTEBOOK.stat().st_size < 300_000
    assert all(cell.outputs for cell in cells[1:])  # read without running it, too


@pytest.mark.slow
def test_from_a_film_to_a_forecaster_its_scores_and_a_picture(tmp_path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in code_of(notebook):
        assert "minutes=0.5" in cell.source or "fit(" not in cell.source
        cell.source = cell.source.replace("minutes=0.5", "minutes=0.1")
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    film, trained, scored, forecast = code_of(notebook)
    assert not film.outputs
    said = "".join(output.text for output in trained.outputs if output.output_type == "stream")
    lines = [line for line in said.splitlines() if "clips are validated" not in line]
    first = [line.split()[0] for line in lines]
    assert first[:4] == ["film.mp4:", "train", "validation", "test"]
    assert {"step", "epoch"} <= set(first[4:])  # as many as the minutes hold
    assert "waiting for data" in said
    shown = [output for output in trained.outputs if output.output_type == "execute_result"]
    assert shown[0].data["text/html"].count("data:image/png") == 2
    assert [output.output_type for output in scored.outputs] == ["execute_result"]
    assert "persistence     1.00" in scored.outputs[-1].data["text/plain"]
    assert forecast.outputs[-1].data["image/png"]
    assert (tmp_path / "runs").is_dir()
    for cell in code_of(notebook):
        assert not [o for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
