"""What is known of one execution provider: its name at the edge, its options, what it needs."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from slipway.errors import SpecError
from slipway.providers.options import Kind
from slipway.specs import OptionValue, Precision

Options = Mapping[str, OptionValue]


@dataclass(frozen=True)
class Asked:
    """What a provider's own options may depend on.

    Args:
        precision: The variant's label.
        threads: Intra-op threads, for providers with a pool of their own.
        cache: A folder for compiled engines.
        given: What the spec says itself, over which no default may stumble.
    """

    precision: str
    threads: int
    cache: Path
    given: Options = field(default_factory=dict)


def no_options(asked: Asked) -> Options:  # noqa: ARG001 - the signature that all share
    """For a provider that is right as it comes."""
    return {}


def no_clash(options: Mapping[str, str]) -> str | None:  # noqa: ARG001 - the signature of all
    """For a provider whose options are independent of each other."""
    return None


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
        known_options: The options that a spec may set, with their values. Those that hold an
            address in memory are left out: no spec knows one.
        clash: Why options that are right one by one are wrong together; None where they are not.
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
    known_options: Mapping[str, Kind] = field(default_factory=dict)
    clash: Callable[[Mapping[str, str]], str | None] = no_clash
    device: str = "cpu"
    behind: tuple[str, ...] = ()
    memory_pattern: bool = True
    ran: str = ""

    def settle(self, asked: Asked, given: Options) -> dict[str, str]:
        """Its options with those of a spec on top, as the texts that it reads.

        Raises:
            SpecError: for an option that it does not have, with those that it has, for a value
                that it does not take, or for options that do not go together.
        """
        merged = {**self.options(replace(asked, given=given)), **given}
        settled = {key: self._write(key, value) for key, value in merged.items()}
        if (wrong := self.clash(settled)) is not None:
            raise SpecError(f"provider_options.{self.name}: {wrong}")
        return settled

    def portable(self, asked: Asked, given: Options) -> dict[str, str]:
        """The same without the cache of this machine: what a report or a server is told."""
        settled = self.settle(asked, given)
        return {key: value for key, value in settled.items() if value != str(asked.cache)}

    def _write(self, key: str, value: OptionValue) -> str:
        place = f"provider_options.{self.name}.{key}"
        if key not in self.known_options:
            known = sorted(self.known_options)
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise SpecError(f"{place}: {self.name} has no such option{hint} ({there})")
        kind = self.known_options[key]
        text = kind.write(value)
        if text is None:
            raise SpecError(f"{place}: {value!r} is not {kind.words}")
        return text

    def unit(self, given: Options) -> str:
        """Which part of a host it keeps busy: providers on one unit disturb each other."""
        if "device_id" in self.known_options:
            return f"accelerator-{given.get('device_id', 0)}"
        if "device_type" in self.known_options:
            return str(given.get("device_type", "cpu")).lower()
        return "cpu"
