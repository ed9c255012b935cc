"""The stages of a release over references: fetch, run isolated, store what came out.

`workspace` is the folder a stage works in; `making` has fetch, export and convert, `proving`
validation, `measuring` the benchmarks, `releasing` bundle, self-test and register; `failing`
has the page of an export that failed; `bare` is the same work on bare files for the command line.
No orchestrator: call these from a notebook and they do the same.
"""
