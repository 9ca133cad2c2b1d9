"""Forecasters for other runtimes: ONNX, OpenVINO, torch.export, and a page in the browser."""
