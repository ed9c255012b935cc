"""Plots as files: documents of their own that show what the report shows."""

import xml.etree.ElementTree as ET

from slipway.reporting.figures import figure_files
from slipway.reports import Evidence


def test_every_plot_of_the_report_is_a_document_of_its_own(passed_cnn: Evidence) -> None:
    figures = figure_files(passed_cnn)
    assert {"metric.svg", "size.svg"} < set(figures)
    assert any(name.startswith("latency-cpu-batch-") for name in figures)
    for document in figures.values():
        root = ET.fromstring(document)  # noqa: S314 - our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["width"]) > 0
        assert float(root.attrib["height"]) > 0


def test_plots_name_the_variants_and_nothing_outside(passed_cnn: Evidence) -> None:
    size = figure_files(passed_cnn)["size.svg"]
    assert all(v.precision in size for v in passed_cnn.variants if v.model is not None)
    assert size.count("http") == 1  # the namespace


def test_equal_evidence_gives_equal_plots(passed_cnn: Evidence) -> None:
    again = Evidence.model_validate_json(passed_cnn.model_dump_json())
    assert figure_files(passed_cnn) == figure_files(again)
