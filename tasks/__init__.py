"""How each stage runs under Prefect: caching, retries, names, artifacts. The work is in `slipway`.

`policy` makes a task of a core function, `results` stores what tasks return, `stages` is the tasks
of a release, `pages` what they leave in the Prefect UI.
"""
