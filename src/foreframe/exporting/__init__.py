"""Forecasters as ONNX files; packages add further formats."""
