"""What was found, shown to people and to scripts; no judgement is made here.

`formatting` writes a number, `cells` what is said of one variant or measurement, `summary` the
sentences of a release. Every view uses them, so that a fact reads the same everywhere: `html` (the
report in the bundle, with `plots` and `report.html.j2`), `markdown` (Prefect's artifact, the
registered version's description), `terminal` (a table for the command line) and `json_view`
(`slipway release --json`). `failure` is the page of an export that failed.
"""
