"""foreframe convert"""

from foreframe.addons.zoo.convert_options import ConvertOptions
from foreframe.base.files import check_source
from foreframe.cli.parser import Parser


def convert_checkpoint(checkpoint: str, options: ConvertOptions, *, output: str) -> None:
    """Make a forecaster of a paper's own checkpoint: foreframe convert FILE --model tau -o FOLDER

    Args:
        checkpoint: a file of torch.save or .safetensors; nothing in it is run
        output: new folder for the forecaster, for predict, evaluate and stream
    """
    check_source(checkpoint)

    from foreframe.addons.zoo.convert_call import convert

    print(f"{convert(checkpoint, output, options)}\nwrote {output}")


def parser() -> Parser:
    return Parser("convert", convert_checkpoint)
