"""Benchmarks: `harness.measure` times all variants interleaved in one process.

`statistics` has the intervals and the number of queries a percentile needs, `inputs` makes feeds
from the golden set, `placement` keeps threads on their cores, `conditions` records the machine
and notices other load, and `selection` picks the variant to serve.
"""
