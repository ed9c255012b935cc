"""Names of an exported graph's outputs: those asked for, or the model's own, each one unique."""

from collections.abc import Collection, Sequence

from slipway.errors import SpecError
from slipway.specs import check_names


def output_names(
    own: Sequence[str], *, inputs: Collection[str], asked: Sequence[str]
) -> tuple[str, ...]:
    """The names asked for, else the model's own, with `_out` behind one that an input has.

    A graph's tensors share one space of names; a model may call an input and an output the same.

    Raises:
        SpecError: when another number of names is asked for than the model has outputs, or a name
            stands for two tensors.
    """
    if not asked:
        return tuple(f"{name}_out" if name in inputs else name for name in own)
    if len(asked) != len(own):
        raise SpecError(
            f"outputs: the spec names {len(asked)} ({', '.join(asked)}), the model gives "
            f"{len(own)} ({', '.join(own)})"
        )
    try:
        check_names(inputs, asked)
    except ValueError as error:
        raise SpecError(str(error)) from error
    return tuple(asked)
