"""What was found, shown to people and to scripts; no judgement is made here.

`formatting` writes a number, `summary` writes a sentence, and every view below uses both, so that
the same fact reads the same everywhere: `html` (the report in the bundle, with `plots` and
`report.html.j2`), `markdown` (Prefect's artifact, the registered version's description), `terminal`
(a table for the command line) and `json_view` (`slipway release --json`).
"""
