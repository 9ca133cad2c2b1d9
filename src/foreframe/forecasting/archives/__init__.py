"""Many forecasts in tasks, which this process, several, or a cluster do."""
