"""Whether the exported model draws random numbers."""

from slipway.reports import Diagnosis
from slipway.validation.diagnosis.trials import Trial, same


def find_randomness(trial: Trial) -> Diagnosis | None:
    """The model draws random numbers: two runs on the same inputs differ."""
    for case, first in zip(trial.golden.cases, trial.answers, strict=True):
        second = trial.run(case.inputs)
        if first is None or second is None:
            continue
        for name, array in first.items():
            if not same(array, second[name]):
                return Diagnosis(
                    kind="random",
                    sentence=f"output {name} differs between two runs on the same inputs: the "
                    "model draws random numbers; export it in inference mode, without dropout "
                    "and sampling",
                    evidence={"output": name},
                )
    return None
