"""The Forecaster (model, window, scaling): forecasts, streams, ensembles, saving, and files."""
