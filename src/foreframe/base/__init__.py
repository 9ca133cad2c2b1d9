"""Files, validation, messages and memory: modules that import nothing of the other rooms."""
