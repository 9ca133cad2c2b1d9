"""Files, validation of options, messages, memory: what knows nothing of clips."""
