"""Markdown that shows what was found and nothing else."""

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from slipway.reporting import formatting as fmt
from slipway.reporting.markdown import escape, summary_markdown, variants_table
from slipway.reports import Evidence

GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def inline(text: str) -> list[Token]:
    return [child for token in GFM.parse(text) for child in token.children or []]


def cells(markdown: str) -> list[list[str]]:
    rows: list[list[str]] = []
    for token in GFM.parse(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level >= 4:
            rows[-1].append("".join(c.content for c in token.children or []))
    return rows


def test_the_verdict_the_selection_and_the_table_are_there(passed_cnn: Evidence) -> None:
    markdown = summary_markdown(passed_cnn)
    assert markdown.startswith("## digits-cnn: passed\n\nAll 4 variants passed every check.\n")
    assert f"int8-static is 1.8{fmt.TIMES} faster than fp32, query for query" in markdown
    assert "onnxruntime 1.31.1; intervals of 95 % confidence." in markdown


def test_the_table_is_a_table_of_plain_cells(failed_cnn: Evidence) -> None:
    rows = cells(summary_markdown(failed_cnn))
    table = variants_table(failed_cnn)
    left = [name for name in table[0] if name not in {"p95", "p99", "latency / fp32"}]
    assert rows[0] == left
    assert rows[1:] == [[row[name] for name in left] for row in table]


def test_there_is_a_row_for_every_measurement(passed_cnn: Evidence) -> None:
    table = variants_table(passed_cnn)
    assert [(row["variant"], row["batch"]) for row in table[:3]] == [
        ("fp32", "1"),
        ("fp32", "8"),
        ("fp16", "1"),
    ]
    assert len(table) == 8
    assert len({tuple(row) for row in table}) == 1


def test_a_variant_that_was_not_measured_has_a_row_too(tabular: Evidence) -> None:
    skipped = variants_table(tabular)[1]
    assert skipped["status"] == "skipped"
    assert skipped["verdict"] == "not benchmarked"
    assert skipped["p50"] == fmt.DASH
    assert variants_table(tabular)[0]["p99"] == "not estimable (needs 662 queries)"


def test_what_was_left_out_is_listed_with_its_reason(failed_cnn: Evidence) -> None:
    markdown = summary_markdown(failed_cnn)
    assert "\n- selection: no variant can be served on cpu\n" in markdown
    assert "\n- fp16 was skipped: a weight of 81,204" in markdown


def test_links_go_to_web_addresses_only(minimal: Evidence) -> None:
    markdown = summary_markdown(
        minimal,
        links={
            "report": "https://mlflow.example/report (1).html",
            "version": "https://mlflow.example/models/a_b",
            "here": "evidence/report.html",
            "bundle": "s3://bucket/bundle",
            "bad": "javascript:alert(1)",
        },
    )
    targets = [token.attrs["href"] for token in inline(markdown) if token.type == "link_open"]
    assert targets == ["https://mlflow.example/models/a_b", "evidence/report.html"]
    assert "bundle: `s3://bucket/bundle`" in markdown


@given(st.text(max_size=60))
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    tokens = GFM.parse(f"{escape(text)}\n")
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    children = [child for token in tokens for child in token.children or []]
    assert {child.type for child in children} <= {"text", "text_special"}
    shown = "".join(child.content for child in children)
    assert shown == " ".join(text.replace("\0", "\ufffd").split())


def test_hostile_reasons_make_no_markup(failed_cnn: Evidence) -> None:
    evil = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![x](y) | `b` **c**\n# d"
    attacked = failed_cnn.model_copy(update={"failures": (evil, evil)})
    kinds = {token.type for token in inline(summary_markdown(attacked))}
    assert not kinds & {"html_inline", "link_open", "image", "code_inline"}
