"""Whether a model may be served: is it sound, equal enough to its source, and good enough?

Three questions, each with a module that answers it with a report, and one that puts them together:

- `checking`: `check_model` says whether the file is sound. It starts with `preflight`, static rules
  over the parsed file, before any native parser walks the graph; then ONNX's checker, shape
  inference, and whether onnxruntime loads it.
- `parity`: `check_parity` replays a golden set and compares outputs with the source model's; the
  arithmetic is in `comparing`, plain golden files are read by `replay`.
- `diagnosis`: `diagnose` says why parity failed, where a trial shows it; `divergence` and `sources`
  in it name the first node that goes wrong, against float64 and against a trace of the source.
- `explain`: the isolated stage that tells it with a trace, after `validate` failed.
- `overflow`: `find_overflow` says whether a float16 model overflows where the CPU hides it.
- `metrics`: the task metric on labelled data, in numpy alone.
- `validate`: the isolated stage: check, parity, metric, verdict.

The preflight's rules are one file a subject, each a generator of findings over a `walk.ModelWalk`:
`versions`, `operators`, `behaviour`, `naming`, `functions`, `tensors` (with `external`). A new rule
is one function and one line in `preflight.RULES`.

Models are never changed here; conversions live in `slipway.precisions`.
"""
