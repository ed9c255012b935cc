"""fp32: the exported model as it is, which every other variant is compared with."""

from pathlib import Path

from slipway.precisions.finishing import tools
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.signature import read_graph


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:  # noqa: ARG001 - a Converter
    """Hand the model back: nothing is copied, so external data stays where it is.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
    """
    read_graph(request.model)
    return ConvertResult(status="passed", model=request.model, tools=tools())
