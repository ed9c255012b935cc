"""An export that failed, for people: one HTML page, and a few lines of markdown.

What is known of each kind of failure is said here once; the fact itself is the error's message.
"""

from collections.abc import Iterator
from typing import Final

from slipway.reporting import formatting
from slipway.reporting.html import template
from slipway.reporting.markdown import escape
from slipway.reports import ExportFailure, FailureKind

TEMPLATE: Final = "failure.html.j2"

_HEADLINES: Final[dict[FailureKind, str]] = {
    "unsupported-operator": "The model uses what has no ONNX.",
    "opset": "The opset that was asked for cannot be written.",
    "frozen-dimension": "A dimension that was asked for as dynamic is fixed in the model.",
    "dtype": "The model takes or gives numbers of a type that no served model can have.",
    "training-mode": "The model was saved in training mode.",
    "factory": "The factory that builds the model failed.",
    "converter": "The converter refuses the model.",
    "invalid-graph": "The converter made a graph that cannot be run.",
    "crash": "The process that exported the model died.",
    "timeout": "The export did not end within its time limit.",
    "out-of-memory": "The export went past its memory limit.",
    "unforeseen": "The export failed in a way that Slipway does not know.",
}
_ELSEWHERE: Final = (
    "Save the same model in another form that Slipway exports: a SavedModel for a .keras file, a "
    "program of torch.export for a module with a factory, or ONNX made by a converter of its own."
)
_WAYS_OUT: Final[dict[FailureKind, tuple[str, ...]]] = {
    "unsupported-operator": (
        "Write that part of the model with operators that ONNX has.",
        "Or leave it out of the exported model, and do it where the model is served.",
    ),
    "opset": ("Set the opset in the spec to one that the converter writes.",),
    "frozen-dimension": (
        "Save the model again with that dimension dynamic.",
        "Or give its size as a number in the spec's inputs: the release serves that size alone.",
    ),
    "dtype": ("Cast it inside the model to float32 or int64, and save it again.",),
    "training-mode": ("Put the model into evaluation mode, and save it again.",),
    "factory": (
        "Correct the factory, or source.factory_arguments, which it is called with.",
        "It runs without network, without secrets, and may write nowhere but in its own folder.",
    ),
    "converter": ("Replace the part of the model that the message names.", _ELSEWHERE),
    "invalid-graph": ("Replace the part of the model that the message names.", _ELSEWHERE),
    "crash": (
        "Nothing else was harmed: an export has a process of its own.",
        "Look at the last words in the message, and try the same in the framework itself.",
        _ELSEWHERE,
    ),
    "timeout": ("Raise the limit that the message names, or export a smaller part of the model.",),
    "out-of-memory": (
        "Raise the limit that the message names, or export where there is more memory.",
    ),
    "unforeseen": (
        "Look at the last words in the message, and try the same in the framework itself.",
        _ELSEWHERE,
    ),
}
_NAMES: Final = {
    "operator": "Operator",
    "opset": "At opset",
    "tried_opset": "Tried as well",
    "needed_opset": "Opset that has it",
    "input": "Input",
    "output": "Output",
    "dimension": "Dimension",
    "size": "Fixed at",
    "dtype": "Type",
}


def render_failure(failure: ExportFailure) -> str:
    """The failure as one HTML document that needs nothing else; equal failures, equal bytes."""
    words = {"headline": headline, "facts": facts, "ways_out": ways_out}
    return template(TEMPLATE).render(found=failure, words=words, fmt=formatting)


def failure_markdown(failure: ExportFailure) -> str:
    """The same in short, for an orchestrator's page."""
    lines = [
        f"## {escape(failure.name)}: not exported",
        escape(headline(failure)),
        escape(failure.message),
        "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in facts(failure)),
        "**The way out**",
        "\n".join(f"- {escape(step)}" for step in ways_out(failure)),
        f"Source {escape(failure.source)}, `{failure.source_digest}`",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def headline(failure: ExportFailure) -> str:
    """The kind of failure in a sentence."""
    return _HEADLINES[failure.kind]


def facts(failure: ExportFailure) -> list[tuple[str, str]]:
    """What the error says of itself, by the names that people read."""
    return [(_NAMES.get(name, name), str(value)) for name, value in _known(failure)]


def _known(failure: ExportFailure) -> Iterator[tuple[str, str | int]]:
    """In the order of `_NAMES`, others behind; the kind is told already."""
    order = {name: index for index, name in enumerate(_NAMES)}
    for name in sorted(failure.facts, key=lambda it: (order.get(it, len(order)), it)):
        if name != "kind":
            yield name, failure.facts[name]


def ways_out(failure: ExportFailure) -> list[str]:
    """What can be done, the most promising first."""
    needed = failure.facts.get("needed_opset")
    first = []
    if failure.kind == "opset" and needed:
        first = [f"Set opset: {needed} in the spec."]
    elif needed:
        first = [f"Set max_opset: {needed} in the spec: opset {needed} has what is missing."]
    return [*first, *_WAYS_OUT[failure.kind]]
