"""The HTML report is whole, self-contained, harmless and the same each time."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

import slipway.reporting
from slipway.reporting.html import placed_findings, render_report
from slipway.reports import BenchmarkSuite, Diagnosis, Evidence, Finding, Provenance

VOID = {"meta", "br", "img", "link", "input", "hr", "base", "col", "source"}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}&amp;"


class Document(HTMLParser):
    """Reads HTML strictly: every element is closed, in order, and no attribute comes twice."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag}: an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> closes itself only inside svg"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "title", "desc"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(params=["passed_cnn", "failed_cnn", "tabular", "minimal"])
def evidence(request: pytest.FixtureRequest) -> Evidence:
    found: Evidence = request.getfixturevalue(request.param)
    return found


def test_the_document_is_well_formed(evidence: Evidence, provenance: Provenance) -> None:
    html = render_report(evidence, provenance=provenance)
    document = Document(html)
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    ids = Counter(attributes.get("id") for _, attributes in document.elements)
    del ids[None]
    assert set(ids.values()) == {1}
    for _, attributes in document.elements:
        assert attributes.get("aria-labelledby", next(iter(ids))) in ids


def test_nothing_is_fetched_and_nothing_runs(evidence: Evidence, provenance: Provenance) -> None:
    html = render_report(evidence, provenance=provenance)
    document = Document(html)
    assert not {"script", "link", "img", "iframe", "object", "a", "base"} & {
        tag for tag, _ in document.elements
    }
    for _, attributes in document.elements:
        assert not {"src", "href", "xlink:href", "srcset", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"https?:|//\w|url\(|@import|javascript:", html)
    assert {"http-equiv": "Content-Security-Policy"}.items() <= document.attributes("meta")[
        1
    ].items()


def test_equal_evidence_gives_equal_bytes(evidence: Evidence, provenance: Provenance) -> None:
    again = Evidence.model_validate_json(evidence.model_dump_json())
    shuffled = provenance.model_copy(
        update={"tools": dict(reversed(list(provenance.tools.items())))}
    )
    assert render_report(evidence, provenance=provenance) == render_report(
        again, provenance=shuffled
    )


def test_headers_have_a_scope_and_rows_fill_their_table(
    evidence: Evidence, provenance: Provenance
) -> None:
    html = render_report(evidence, provenance=provenance)
    assert all("scope" in attributes for attributes in Document(html).attributes("th"))
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        columns = len(re.findall(r"<th scope=\"col\"", table))
        held: list[int] = []
        for row in re.findall(r"<tr.*?</tr>", table.split("</thead>")[1], re.DOTALL):
            cells = re.findall(r"<t[hd][ >][^>]*>?", row)
            spans = [
                tuple(
                    int((re.findall(rf'{kind}="(\d+)"', cell) or ["1"])[0])
                    for kind in ("colspan", "rowspan")
                )
                for cell in cells
            ]
            assert sum(width for width, _ in spans) + len(held) == columns
            held = [left - 1 for left in held if left > 1]
            held += [height - 1 for width, height in spans for _ in range(width) if height > 1]


def test_the_verdict_comes_first(passed_cnn: Evidence, provenance: Provenance) -> None:
    text = Document(render_report(passed_cnn, provenance=provenance)).text
    assert text.startswith(
        "Release report, pytorch to ONNX opset 18 digits-cnn Passed All 4 variants passed"
    )
    order = [
        "Passed",
        "Selected for cpu int8-static",
        "Latency",
        "Size and quality",
        "Variants Variant Status",
        "Parity with the source model",
        "Findings",
        "Benchmark conditions",
        "Export and provenance",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_a_provider_that_was_missing_is_told_beside_the_verdict(
    passed_cnn: Evidence, provenance: Provenance
) -> None:
    missing = BenchmarkSuite(
        provider="cuda", status="missing environment", reason="it needs an NVIDIA GPU"
    )
    told = passed_cnn.model_copy(update={"suites": (*passed_cnn.suites, missing)})
    text = Document(render_report(told, provenance=provenance)).text
    said = text.index("cuda: missing environment: it needs an NVIDIA GPU.")
    assert text.index("Passed") < said < text.index("Selected for cpu")


def test_a_failed_release_says_so_and_why(failed_cnn: Evidence, provenance: Provenance) -> None:
    text = Document(render_report(failed_cnn, provenance=provenance)).text
    assert "Failed fp32 (required): output logits differs from the source model" in text
    assert "selection: no variant can be served on cpu" in text
    assert "fp16 was skipped: a weight of 81,204 is beyond" in text
    assert "other load disturbed 2 measurements" in text


def test_a_missing_p99_says_what_it_needs(tabular: Evidence, provenance: Provenance) -> None:
    text = Document(render_report(tabular, provenance=provenance)).text
    assert "p99: not estimable (needs 662 queries)." in text
    assert "None" not in text
    assert "nan" not in text.lower().split()


def test_the_least_release_reads_well(minimal: Evidence, provenance: Provenance) -> None:
    text = Document(render_report(minimal, provenance=provenance)).text
    assert "No variant was benchmarked." in text
    assert "No task metric was measured." in text
    assert "found nothing to report" in text
    assert "No benchmark was run." in text
    assert "None" not in text


def hostile(evidence: Evidence, text: str) -> Evidence:
    """The evidence with a text in every place that is free text."""
    finding = Finding(level="error", code=text, message=text, place=text)
    first = evidence.variants[0]
    assert first.validation is not None
    assert first.validation.parity is not None
    output = first.validation.parity.outputs[0]
    parity = first.validation.parity.model_copy(
        update={
            "outputs": (
                output.model_copy(update={"output": text, "reason": text, "expected": text}),
            )
        }
    )
    check = first.validation.check.model_copy(update={"findings": (finding,)})
    variant = first.model_copy(
        update={
            "status": "failed",
            "reason": text,
            "conversion": first.conversion.model_copy(update={"settings": {text: text}}),
            "validation": first.validation.model_copy(update={"parity": parity, "check": check}),
        }
    )
    suites = tuple(
        s.model_copy(update={"conditions": s.conditions.model_copy(update={"host": text})})
        for s in evidence.suites
        if s.conditions is not None
    )
    return evidence.model_copy(
        update={
            "name": text,
            "framework": text,
            "passed": False,
            "failures": (text, text),
            "variants": (variant,),
            "suites": suites,
        }
    )


def test_hostile_text_stays_text(passed_cnn: Evidence, provenance: Provenance) -> None:
    plain = Document(render_report(hostile(passed_cnn, "plain"), provenance=provenance))
    attacked = Document(render_report(hostile(passed_cnn, HOSTILE), provenance=provenance))
    assert [tag for tag, _ in attacked.elements] == [tag for tag, _ in plain.elements]
    assert [sorted(a) for _, a in attacked.elements] == [sorted(a) for _, a in plain.elements]
    assert attacked.text.count(HOSTILE) == plain.text.count("plain") > 8


def test_a_finding_of_several_variants_is_told_once(passed_cnn: Evidence) -> None:
    found = placed_findings(passed_cnn)
    assert [f.finding.code for f in found] == ["dynamic-dimension-renamed", "wide-range"]
    assert found[0].places == ("fp32", "fp16", "int8-dynamic", "int8-static")


def test_a_diagnosis_is_told_with_its_evidence(
    failed_cnn: Evidence, provenance: Provenance
) -> None:
    diagnosis = Diagnosis(
        kind="layout", sentence="the model takes <channels first>", evidence={"input": "image"}
    )
    fp32, *others = failed_cnn.variants
    assert fp32.validation is not None
    validation = fp32.validation.model_copy(update={"diagnosis": diagnosis})
    fp32 = fp32.model_copy(update={"validation": validation})
    told = failed_cnn.model_copy(update={"variants": (fp32, *others)})
    (found,) = [f for f in placed_findings(told) if f.finding.code == "diagnosis-layout"]
    assert (found.places, found.finding.place) == (("fp32",), "input image")
    page = render_report(told, provenance=provenance)
    assert "the model takes &lt;channels first&gt;" in page
    assert "<code>input image</code>" in page


def test_errors_are_told_before_warnings(failed_cnn: Evidence) -> None:
    levels = [found.finding.level for found in placed_findings(failed_cnn)]
    assert levels == sorted(levels)
    assert set(levels) == {"error", "warning"}


# Colours, by the contrast formula of WCAG 2.


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", css))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_stand_out_from_what_is_behind_them(scheme: str) -> None:
    css = (Path(slipway.reporting.__file__).parent / "report.css").read_text()
    light, dark = css.split("prefers-color-scheme: dark", 1)
    tone = colours(light if scheme == "light" else dark)
    behind = {
        "ink": ["page", "card", "pass-wash", "fail-wash"],
        "soft": ["page", "card"],
        "pass": ["card", "pass-wash"],
        "fail": ["card", "fail-wash"],
        "warn": ["card", "warn-wash"],
    }
    for front, backs in behind.items():
        for back in backs:
            assert contrast(tone[front], tone[back]) >= 4.5, (front, back)
    for series in ("fp32", "fp16", "int8-dynamic", "int8-static"):
        assert contrast(tone[series], tone["card"]) >= 3, series
