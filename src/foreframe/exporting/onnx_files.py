"""Graphs as ONNX files."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from foreframe.base.extras import needed
from foreframe.exporting.graphs import Graph, Runner

OPSET = 18


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide messages that exporters print for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write_onnx(graph: Graph, folder: Path) -> Runner:
    """Write a graph to a folder, and return what runs the file.

    Raises:
        ValueError: a package is missing.
    """
    for module in ("onnx", "onnxscript"):
        needed(module, "export", "export")
    runtime = needed("onnxruntime", "export", "export")
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.exported(),
            dynamo=True,
            opset_version=OPSET,
            input_names=graph.inputs,
            output_names=graph.outputs,
            verbose=False,
            optimize=False,  # which takes minutes for thousands of nodes
        )
        assert program is not None
    path = folder / f"{graph.name}.onnx"
    settings = runtime.SessionOptions()
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(path)
    settings.log_severity_level = 3  # errors alone
    runtime.InferenceSession(program.model_proto.SerializeToString(), settings)
    settings.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, settings)
    return lambda named: session.run(graph.outputs, dict(named))
