"""Forecasters as ONNX files, and as a page that forecasts in the browser."""
