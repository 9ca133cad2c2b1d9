"""Files, validation, messages and memory. Imports no other room."""
