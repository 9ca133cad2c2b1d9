"""Writes llms.txt, an index of the documentation for language models, from docs/index.md.

python .ci/llms.py
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = """\
```bash
foreframe predict scenes film.mp4 -o future.mp4   # forecast a film
foreframe outlook radar rain.nc --at 47.38,8.54   # forecast rain at a location
foreframe train --data film.mp4 --run runs/film   # train on a recording
foreframe evaluate runs/film                      # compare it with baselines
foreframe anomalies street.mp4 -o unusual.png     # find unusual events
foreframe serve scenes radar                      # answer over HTTP
```
"""


def text() -> str:
    """Return the purpose, six commands, and a line for each page."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    purpose = " ".join(index.split("\n\n")[1].split())
    rows = re.findall(r"(?m)^\| \[([^]]+)\]\((\S+\.md)\) \| (.+) \|$", index)
    pages = "\n".join(f"- [{title}](docs/{page}): {about}" for title, page, about in rows)
    return f"# foreframe\n\n> {purpose}\n\n## Commands\n\n{COMMANDS}\n## Pages\n\n{pages}\n"


if __name__ == "__main__":
    (ROOT / "llms.txt").write_text(text(), encoding="utf-8")
