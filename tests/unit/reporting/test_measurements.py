"""One provider's measurements in a table and a sentence: what was not measured is never claimed."""

from slipway.reporting.measurements import conditions_sentence, measurements_table
from slipway.reports import BenchmarkSuite, Evidence


def missing(suite: BenchmarkSuite, *, fallback: bool) -> BenchmarkSuite:
    rows = [row.model_copy(update={"provider": "cpu fallback for cuda"}) for row in suite.rows]
    return suite.model_copy(
        update={
            "provider": "cuda",
            "status": "missing environment",
            "reason": "it needs an NVIDIA GPU",
            "rows": tuple(rows) if fallback else (),
        }
    )


def test_what_was_measured_says_where_and_with_what(passed_cnn: Evidence) -> None:
    (suite,) = passed_cnn.suites
    assert conditions_sentence(suite).startswith("Measured with cpu on ")
    assert "onnxruntime 1." in conditions_sentence(suite)
    row = measurements_table(suite)[0]
    assert list(row)[:4] == ["variant", "batch", "verdict", "p50"]


def test_another_build_of_onnxruntime_is_named_once(passed_cnn: Evidence) -> None:
    (suite,) = passed_cnn.suites
    assert suite.conditions is not None
    built = suite.conditions.model_copy(update={"onnxruntime": "onnxruntime-openvino 1.24.1"})
    said = conditions_sentence(suite.model_copy(update={"conditions": built}))
    assert ", onnxruntime-openvino 1.24.1;" in said


def test_a_provider_that_gave_nothing_is_not_said_to_have_measured(passed_cnn: Evidence) -> None:
    suite = missing(passed_cnn.suites[0], fallback=False)
    assert conditions_sentence(suite) == "cuda: missing environment: it needs an NVIDIA GPU."
    (row,) = measurements_table(suite)
    assert (row["provider"], row["status"]) == ("cuda", "missing environment")


def test_rows_of_the_cpu_in_its_place_say_so(passed_cnn: Evidence) -> None:
    suite = missing(passed_cnn.suites[0], fallback=True)
    assert "Measured with the CPU in its place, on " in conditions_sentence(suite)
    assert {row["ran on"] for row in measurements_table(suite)} == {"cpu fallback for cuda"}
