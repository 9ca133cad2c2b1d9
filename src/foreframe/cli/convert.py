"""foreframe convert"""

from foreframe.base.files import check_source
from foreframe.cli.parser import Parser
from foreframe.forecasting.forecast_options import ConvertOptions


def convert_checkpoint(checkpoint: str, options: ConvertOptions, *, output: str) -> None:
    """Make a forecaster of a paper's own checkpoint: foreframe convert FILE --model tau -o FOLDER

    Args:
        checkpoint: a file of torch.save or .safetensors; nothing in it is run
        output: new folder for the forecaster, for predict, evaluate and stream
    """
    check_source(checkpoint)

    from foreframe.api import convert

    print(f"{convert(checkpoint, output, options)}\nlies in {output}")


def parser() -> Parser:
    return Parser("convert", convert_checkpoint)
