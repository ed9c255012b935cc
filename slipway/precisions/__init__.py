"""Precisions: one file and one line of the table each.

`convert` is what the isolated child calls. `graphs` reads, tidies and writes models; `preprocess`
prepares one for a quantizer; `calibration` finds activation ranges from data, with `gating`,
`exposing`, `statistics`, `tails`, `histograms`, `thresholds`, `states` and `relay`; `audit` and
`masks` look at scales, ranges and masks; `finishing` is how every converted model ends. For static
INT8 `policy` chooses types and operators, `marking` the tensors, `scales` their integers and `qdq`
writes the graph; `budgeting` holds it to the budget as `judging` says, with `searching`,
`switchable` and `mixed` to find the nodes that stay in float; `saturation` tells what processors it
suits. Of `int4_weights`, `int4_packing` packs the numbers and `int4_nodes` writes the nodes.
`sharding` counts a share of a calibration.
"""

import importlib
from pathlib import Path
from typing import Final, cast

from slipway.errors import PrecisionFailed
from slipway.protocols import Converter, ConvertRequest, ConvertResult
from slipway.specs import Precision

CONVERTERS: Final[dict[Precision, str]] = {
    "fp32": "slipway.precisions.fp32",
    "fp32-optimized": "slipway.precisions.fp32_optimized",
    "fp16": "slipway.precisions.fp16",
    "int8-dynamic": "slipway.precisions.int8_dynamic",
    "int8-static": "slipway.precisions.int8_static",
    "int4-weights": "slipway.precisions.int4_weights",
}


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Make the precision that the request names, writing inside `scratch` only.

    What can be said of this model comes back as a result: `skipped` where the precision does not
    apply, `failed` where it came out unusable. The model of a result stands alone in its folder,
    with its external data beside it.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        DataError: for calibration data that is missing or unusable.
    """
    module = importlib.import_module(CONVERTERS[request.precision])
    converter = cast("Converter", module.convert)
    try:
        return converter(request, scratch)
    except PrecisionFailed as error:
        return ConvertResult(status="failed", reason=str(error))
