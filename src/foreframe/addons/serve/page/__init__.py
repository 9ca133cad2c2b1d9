"""The page of the service and of the export: its files, and what it knows of a model."""

from pathlib import Path

PAGE = Path(__file__).parent / "files"
"""The folder of the page's scripts, styles and pictures."""
