"""Puts pictures below each other, the last step of `make demo`.

python examples/demo_picture.py FIRST.png SECOND.png BOTH.png
"""

import sys

from PIL import Image


def main(first: str, second: str, both: str) -> None:
    pictures = [Image.open(path).convert("RGB") for path in (first, second)]
    size = max(each.width for each in pictures), sum(each.height for each in pictures)
    page = Image.new("RGB", size, pictures[0].getpixel((0, 0)))
    page.paste(pictures[0], (size[0] - pictures[0].width, 0))
    page.paste(pictures[1], (size[0] - pictures[1].width, pictures[0].height))
    page.save(both)


if __name__ == "__main__":
    main(*sys.argv[1:])
