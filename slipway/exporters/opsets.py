"""Which opset a model is written in, and the same model in another."""

from typing import Final

import onnx
import onnx.inliner
import onnx.version_converter

from slipway.errors import ExportFailed, UnreadableModel
from slipway.exporters.wording import first_lines
from slipway.providers.signature import model_inputs, model_outputs

_PROTOBUF_BYTES: Final = 1_500_000_000  # ends at 2 GB, and the converter adds to it
_DEFAULT: Final = frozenset({"", "ai.onnx"})


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of ONNX's own operators.

    Raises:
        UnreadableModel: when the model names none.
    """
    found = [entry.version for entry in model.opset_import if entry.domain in _DEFAULT]
    if not found:
        raise UnreadableModel("the model imports no opset of ai.onnx; is the file complete?")
    return int(found[0])


def convert_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The model in another opset, weights in memory.

    Raises:
        ExportFailed: when onnx's converter does not know how, or loses an input or output.
    """
    given = opset_of(model)
    way_out = f"set opset: {given} in the spec, or export the model again with opset {opset}"
    facts: dict[str, str | int] = {"kind": "opset", "opset": opset, "needed_opset": given}
    if model.ByteSize() > _PROTOBUF_BYTES:
        raise ExportFailed(
            f"the model is too large to be converted from opset {given} to {opset}: {way_out}",
            facts=facts,
        )
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        converted = onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter asserts and raises whatever its adapters do
        raise ExportFailed(
            f"onnx.version_converter does not get from opset {given} to {opset}: "
            f"{first_lines(error)}; {way_out}",
            facts=facts,
        ) from error
    for before, after in (
        (model_inputs(model), model_inputs(converted)),
        (model_outputs(model), model_outputs(converted)),
    ):
        if [tensor.name for tensor in before] != [tensor.name for tensor in after]:
            raise ExportFailed(
                f"onnx.version_converter changes the model's inputs or outputs: {way_out}",
                facts=facts,
            )
    # It drops the opsets of further domains, and with them their operators' meaning.
    known = {entry.domain for entry in converted.opset_import}
    converted.opset_import.extend(e for e in model.opset_import if e.domain not in known | _DEFAULT)
    return converted
