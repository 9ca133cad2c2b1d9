"""Write the digits that bounce on the service's page: one of each, of the test split.

No published model has seen them. The file is JavaScript, one line a digit.
"""

import argparse
from pathlib import Path

import numpy as np

import foreframe
from foreframe.data.moving_mnist import digit_images

# Numbers of clear ones among the embedded digits of test, 0 to 9.
CLEAR = (2, 61, 121, 158, 201, 243, 293, 344, 399, 449)
PAGE = Path(foreframe.__file__).parent / "addons" / "serve" / "page" / "files" / "shapes.js"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PAGE, help="the file (default: the page's)")
    to = parser.parse_args().to
    images = digit_images("mini", split="test")[list(CLEAR)]
    levels = np.round(images / 17).astype(int)  # 16 greys: one hexadecimal digit a pixel
    lines = ["".join(f"{level:x}" for level in image.flat) for image in levels]
    to.write_text(
        "// Digits of MNIST (CC BY-SA 3.0, see NOTICE), 28 x 28, one hexadecimal grey a pixel.\n"
        "export const SHAPES = [\n" + "".join(f'  "{line}",\n' for line in lines) + "];\n"
    )


if __name__ == "__main__":
    main()
