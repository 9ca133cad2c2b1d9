"""Graphs as files of ONNX, OpenVINO and torch's pt2, each with what runs it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from foreframe.base.extras import needed
from foreframe.exporting.graphs import Graph
from foreframe.models.exported import Runner, run_onnx, run_openvino

OPSET = 18
FEW = 64  # numbers, which are stored as they are


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters tell their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _onnx(graph: Graph, folder: Path, half: bool) -> Runner:
    needed("onnxscript", "export", "export")
    onnx, runtime = (needed(module, "export", "export") for module in ("onnx", "onnxruntime"))
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
    if half:
        model = onnx.load(path)
        _store_as_half(model.graph)
        onnx.save(model, path)
    return run_onnx(path, graph.outputs)


def _store_as_half(graph: Any) -> None:
    """Store weights of an ONNX graph that float16 holds as such, each with a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        name, numbers = weight.name, numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            half = numbers.astype(np.float16)
        if numbers.dtype == np.float32 and numbers.size >= FEW and (half == numbers).all():
            weight.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _openvino(graph: Graph, folder: Path, half: bool) -> Runner:
    openvino = needed("openvino", "export", "export --format openvino")
    path = folder / f"{graph.name}.xml"
    with TemporaryDirectory() as rough:
        _onnx(graph, Path(rough), half=False)
        model = openvino.convert_model(str(Path(rough) / f"{graph.name}.onnx"))
        openvino.save_model(model, str(path), compress_to_fp16=half)
    return run_openvino(path, graph.outputs)


def _pt2(graph: Graph, folder: Path, half: bool) -> Runner:
    with _quiet():
        program = graph.exported()
        torch.export.save(program, folder / f"{graph.name}.pt2")
    module: Any = program.module()

    def run(named: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        with torch.no_grad():
            found = module(*(torch.from_numpy(named[name]) for name in graph.inputs))
        return [value.numpy() for value in found]

    return run


WRITERS = {"onnx": _onnx, "openvino": _openvino, "pt2": _pt2}
