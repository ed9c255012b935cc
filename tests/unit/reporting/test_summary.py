"""The sentences of a release."""

from slipway.reporting import cells, summary
from slipway.reporting import formatting as fmt
from slipway.reports import Estimate, Evidence, OutputParity, ParityReport, VariantReport
from slipway.specs import Precision, Tolerance


def find(evidence: Evidence, precision: Precision) -> VariantReport:
    variant = cells.find_variant(evidence, precision)
    assert variant is not None
    return variant


def only_sentence(evidence: Evidence) -> str:
    (selection,) = summary.selections(evidence)
    return selection.sentence


def test_the_selected_variant_is_told_with_what_it_gains(passed_cnn: Evidence) -> None:
    assert only_sentence(passed_cnn) == (
        f"int8-static is 1.8{fmt.TIMES} faster than fp32, query for query with batch size 1, "
        f"accuracy {fmt.MINUS}0.1 points, 3.6{fmt.TIMES} smaller."
    )


def test_the_batch_size_is_told_only_where_there_are_several(passed_cnn: Evidence) -> None:
    variants = tuple(
        v.model_copy(update={"benchmarks": v.benchmarks[:1]}) for v in passed_cnn.variants
    )
    assert "batch" not in only_sentence(passed_cnn.model_copy(update={"variants": variants}))


def test_a_selected_variant_without_benchmark_claims_no_speed(passed_cnn: Evidence) -> None:
    variants = tuple(v.model_copy(update={"benchmarks": ()}) for v in passed_cnn.variants)
    sentence = only_sentence(passed_cnn.model_copy(update={"variants": variants}))
    assert sentence.startswith("int8-static is selected, accuracy")
    assert "faster" not in sentence


def test_a_variant_that_is_neither_faster_nor_slower_is_as_fast(passed_cnn: Evidence) -> None:
    chosen = passed_cnn.model_copy(update={"selected": {"cpu": "int8-dynamic"}})
    assert only_sentence(chosen).startswith("int8-dynamic is as fast as fp32, query for query")


def test_a_slower_variant_is_called_slower_by_its_ratio(passed_cnn: Evidence) -> None:
    assert cells.speed(find(passed_cnn, "fp16").benchmarks[0]) == f"1.25{fmt.TIMES} slower"


def test_fp32_is_selected_with_its_latency(tabular: Evidence) -> None:
    assert only_sentence(tabular) == "fp32 runs at 0.0211 ms at p50."


def test_no_selection_says_whether_anything_was_measured(
    passed_cnn: Evidence, failed_cnn: Evidence, minimal: Evidence
) -> None:
    assert summary.selection_sentences(failed_cnn) == (
        "No variant is selected: none of those measured passed.",
    )
    assert summary.selection_sentences(passed_cnn.model_copy(update={"selected": {}})) == (
        "No variant is selected: none met the budgets.",
    )
    assert summary.selection_sentences(minimal) == (
        "No variant is selected: no benchmark was run.",
    )


def test_a_passed_release_says_what_it_leaves_out(tabular: Evidence, minimal: Evidence) -> None:
    assert summary.explanation(tabular) == (
        "1 of 2 variants passed; fp16 was skipped, and is not required."
    )
    assert summary.explanation(minimal) == "The fp32 variant passed every check."


def test_a_failed_release_says_why_first(failed_cnn: Evidence) -> None:
    why = summary.explanation(failed_cnn)
    assert why.startswith("fp32 (required): output logits differs")
    assert why.endswith("(1 more failure below.)")


def test_a_failure_without_a_list_names_the_required_variant(failed_cnn: Evidence) -> None:
    why = summary.explanation(failed_cnn.model_copy(update={"failures": ()}))
    assert why.startswith("fp32 (required) failed: output logits differs")
    assert "int8-static" not in why


def test_a_failure_without_any_reason_admits_it(minimal: Evidence) -> None:
    silent = minimal.model_copy(update={"passed": False})
    assert summary.explanation(silent) == "The release failed, and no reason was recorded."


def test_a_traceback_is_cut_to_what_a_headline_holds(failed_cnn: Evidence) -> None:
    long = failed_cnn.model_copy(update={"failures": ("boom\n" + "at line 1\n" * 500,)})
    assert len(summary.explanation(long)) < 340
    assert "\n" not in summary.explanation(long)


def test_a_percentile_with_too_few_queries_says_how_many_it_needs(tabular: Evidence) -> None:
    (row,) = find(tabular, "fp32").benchmarks
    assert cells.latency(row, "p99") == "not estimable (needs 662 queries)"


def test_a_percentile_missing_for_another_reason_does_not_blame_the_queries(
    passed_cnn: Evidence,
) -> None:
    missing = Estimate(value_ms=None, low_ms=None, high_ms=None)
    row = find(passed_cnn, "fp32").benchmarks[0].model_copy(update={"p99": missing})
    assert row.queries >= 662
    assert cells.latency(row, "p99") == "not estimable"


def test_a_metric_where_lower_is_better_rises_when_it_gets_worse(tabular: Evidence) -> None:
    metric = cells.metric_of(find(tabular, "fp32"))
    assert metric is not None
    worse = metric.model_copy(update={"name": "rmse", "drop": 0.2})
    assert cells.metric_change(worse) == 0.2
    assert cells.metric_change(worse.model_copy(update={"name": "auc"})) == -0.2


def test_labels_have_no_error_and_do_not_hide_the_probabilities(tabular: Evidence) -> None:
    assert cells.parity_cell(find(tabular, "fp32")) == "max error 8e-8, 100 % same labels"


def test_an_output_that_is_not_finite_is_not_comparable() -> None:
    broken = OutputParity(output="y", passed=False, max_abs_error=None, max_rel_error=None)
    parity = ParityReport(
        passed=False, tolerance=Tolerance(), outputs=(broken,), cases=1, samples=1
    )
    assert cells.max_error(cells.worst_output(parity).max_abs_error, broken) == "not comparable"


def test_a_failing_output_is_told_before_one_with_a_larger_error(failed_cnn: Evidence) -> None:
    parity = cells.parity_of(find(failed_cnn, "fp32"))
    assert parity is not None
    logits, embedding = parity.outputs
    louder = embedding.model_copy(update={"max_abs_error": 5.0})
    told = cells.worst_output(parity.model_copy(update={"outputs": (louder, logits)}))
    assert told.output == "logits"
