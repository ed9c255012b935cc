"""What is known of one execution provider: its name at the edge, its options, what it needs."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import SpecError
from slipway.specs import OptionValue, Precision

Options = Mapping[str, OptionValue]


@dataclass(frozen=True)
class Asked:
    """What a provider's own options may depend on.

    Args:
        precision: The variant's label.
        threads: Intra-op threads, for providers with a pool of their own.
        cache: A folder for compiled engines.
    """

    precision: str
    threads: int
    cache: Path


def no_options(asked: Asked) -> Options:  # noqa: ARG001 - the signature that all share
    """For a provider that is right as it comes."""
    return {}


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    Args:
        name: What specs and reports call it.
        ort_name: What onnxruntime calls it.
        package: The Python package that has it.
        needs: Hardware and libraries, in words.
        precisions: Those that suit it, best first; others run, and gain little.
        options: What it is started with unless a spec says otherwise.
        known_options: Every option that its documentation has, so that a typo is named.
        device: Where inputs and outputs are bound; `cpu` for providers that take host memory.
        behind: Providers that take what this one leaves, before the CPU.
        memory_pattern: Whether it allows onnxruntime's memory planning.
        ran: On what it was run with this version of Slipway; empty where it was only built by its
            documented options.
    """

    name: str
    ort_name: str
    package: str
    needs: str
    precisions: tuple[Precision, ...]
    options: Callable[[Asked], Options] = no_options
    known_options: frozenset[str] = frozenset()
    device: str = "cpu"
    behind: tuple[str, ...] = ()
    memory_pattern: bool = True
    ran: str = ""

    def settle(self, asked: Asked, given: Options) -> dict[str, str]:
        """Its options with those of a spec on top, as onnxruntime's strings.

        Raises:
            SpecError: for an option that it does not have, with the nearest one that it has.
        """
        for key in given:
            if key not in self.known_options:
                near = difflib.get_close_matches(key, sorted(self.known_options), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise SpecError(f"provider_options.{self.name}.{key}: no such option{hint}")
        merged = {**self.options(asked), **given}
        return {key: _text(value) for key, value in merged.items()}

    def unit(self, given: Options) -> str:
        """Which part of a host it keeps busy: providers on one unit disturb each other."""
        if "device_id" in self.known_options:
            return f"accelerator-{given.get('device_id', 0)}"
        if "device_type" in self.known_options:
            return str(given.get("device_type", "cpu")).lower()
        return "cpu"


def _text(value: OptionValue) -> str:
    """Booleans as 1 and 0, which every provider reads, though some document True and False."""
    return str(int(value)) if isinstance(value, bool) else str(value)
