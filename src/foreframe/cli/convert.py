"""foreframe convert"""

from collections.abc import Sequence

from foreframe.base.files import check_source
from foreframe.cli.parser import Parser
from foreframe.forecasting.forecast_options import ConvertOptions


def convert_checkpoint(checkpoint: str, *, output: str) -> None:
    """Make a forecaster of a paper's own checkpoint: foreframe convert FILE --model tau -o FOLDER

    Args:
        checkpoint: a file of torch.save or .safetensors; nothing in it is run
        output: new folder for the forecaster, for predict, evaluate and stream
    """


def parser() -> Parser:
    return Parser("convert", convert_checkpoint, ConvertOptions)


def main(arguments: Sequence[str]) -> None:
    words, options = parser().read(arguments)
    checkpoint, output = words["checkpoint"], words["output"]
    check_source(checkpoint)

    from foreframe.api import convert

    print(f"{convert(checkpoint, output, options)}\nlies in {output}")
