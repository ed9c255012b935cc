"""The commands. Each parses its arguments, calls one stage, and answers; no work is done here.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from gc import set_threshold
from pathlib import Path
from typing import Annotated

import typer

from slipway.cli.converting import COMMANDS as CONVERTING
from slipway.cli.output import answer, answering, say, tell_findings
from slipway.cli.promoting import COMMANDS as PROMOTING

app = typer.Typer(
    name="slipway",
    help="Take a trained model to a measured, verified, registered ONNX release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Spec = Annotated[Path, typer.Argument(help="The release spec (YAML).", metavar="SPEC.yaml")]
Model = Annotated[Path, typer.Argument(help="The ONNX model.", metavar="MODEL.onnx")]
Out = Annotated[Path, typer.Option("--out", help="Where the model is written; must not exist.")]
BundleFolder = Annotated[Path, typer.Argument(help="The bundle's folder.", metavar="BUNDLE")]


def run() -> None:
    """Run the program."""
    # Collecting garbage while ten thousand modules' objects are made costs a tenth of the CPU time
    # of every command that imports Prefect or MLflow, and frees nothing.
    set_threshold(1_000_000, 20, 20)
    app()


def _print_version(asked: bool) -> None:
    if asked:
        from slipway import __version__

        say(__version__)
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


@app.command()
def release(spec_file: Spec, as_json: Json = False) -> None:
    """Run a whole release: export, prove, measure, bundle, register."""
    from slipway.specs import load_spec

    with answering(as_json=as_json):
        spec = load_spec(spec_file)
        from slipway.cli.flows import run_release
        from slipway.cli.release_view import print_release
        from slipway.reporting.json_view import release_json

        report = run_release(spec)
        answer(
            release_json(report),
            as_json=as_json,
            words=lambda: print_release(report),
            passed=report.passed,
        )


@app.command()
def regress(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Registered models; all with the alias if none.", metavar="[NAME]..."),
    ] = None,
    spec: Annotated[
        list[Path] | None, typer.Option("--spec", help="A release spec to look at as well.")
    ] = None,
    alias: Annotated[str, typer.Option(help="What today's is held against.")] = "champion",
    latency: Annotated[
        bool, typer.Option(help="Measure variants whose bytes differ side by side.")
    ] = True,
    request: Annotated[
        Path | None,
        typer.Option(help="All of this and the limits in a file (YAML), in place of the others."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make promoted models again with today's tools, and compare: the nightly regression."""
    with answering(as_json=as_json):
        from slipway.cli.flows import run_regression
        from slipway.cli.regression_view import print_regression
        from slipway.specs import load_regression, regression_spec

        report = run_regression(
            load_regression(request)
            if request
            else regression_spec(
                models=models or (), specs=map(str, spec or ()), alias=alias, latency=latency
            )
        )
        answer(
            report, as_json=as_json, words=lambda: print_regression(report), passed=report.passed
        )


@app.command()
def export(
    spec_file: Spec,
    out: Annotated[Path, typer.Option("--out", help="Folder for model.onnx and golden.npz.")],
    as_json: Json = False,
) -> None:
    """Export the source model and check parity; nothing is bundled or registered."""
    from slipway.specs import load_spec

    with answering(as_json=as_json, working="exporting"):
        from slipway.stages.exporting import export_to_folder

        report = export_to_folder(load_spec(spec_file), out)

        def words() -> None:
            say(f"{report.model}  opset {report.opset}, {report.route}")
            for tensor in (*report.inputs, *report.outputs):
                say(f"  {tensor.name}: {tensor.dtype} {list(tensor.shape)}")
            say(f"parity {'passed' if report.passed else 'FAILED'}: {report.diagnosis}")
            tell_findings(report.findings)

        answer(report, as_json=as_json, words=words, passed=report.passed)


@app.command()
def check(model: Model, as_json: Json = False) -> None:
    """Check a model: static rules, the ONNX checker, shapes, and that onnxruntime loads it."""
    with answering(as_json=as_json, working="checking"):
        from slipway.stages.bare import check_file

        report = check_file(model)

        def words() -> None:
            say(f"{model.name}: {'passed' if report.passed else 'FAILED'}")
            tell_findings(report.findings)

        answer(report, as_json=as_json, words=words, passed=report.passed)


@app.command()
def parity(
    model: Model,
    golden: Annotated[Path, typer.Option(help="A golden set, or an npz of inputs and outputs.")],
    rtol: Annotated[float, typer.Option(min=0)] = 1e-4,
    atol: Annotated[float, typer.Option(min=0)] = 1e-5,
    as_json: Json = False,
) -> None:
    """Compare a model's outputs with recorded ones."""
    with answering(as_json=as_json, working="comparing"):
        from slipway.specs import Tolerance
        from slipway.stages.bare import compare_file

        report = compare_file(model, golden, tolerance=Tolerance(rtol=rtol, atol=atol))

        def words() -> None:
            say(f"{model.name}: {'passed' if report.passed else 'FAILED'} at {rtol=:g}, {atol=:g}")
            for output in report.outputs:
                say(f"  {output.output}: max abs {output.max_abs_error}, {output.reason or 'ok'}")
            for found in (report.diagnosis, report.divergence):
                if found is not None:
                    say(f"  {found.sentence}")

        answer(report, as_json=as_json, words=words, passed=report.passed)


for command in CONVERTING:
    app.command()(command)


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help="Models; the first is the baseline.")],
    provider: Annotated[str, typer.Option(help="Execution provider.")] = "cpu",
    golden: Annotated[
        Path | None, typer.Option(help="Inputs to run; made up from the signature if absent.")
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Repeat for several.")] = None,
    queries: Annotated[
        int | None,
        typer.Option(min=20, help="Queries per model and batch size; for a p99 if absent."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=50, help="Fresh processes to spread them over.")
    ] = 7,
    threads: Annotated[int | None, typer.Option(min=1, help="Intra-op threads.")] = None,
    dim: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZE of a dynamic dimension, where inputs are made up."),
    ] = None,
    slo_p99_ms: Annotated[float | None, typer.Option("--slo-p99-ms", help="Wanted p99.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Throughput at growing batch sizes, too.")
    ] = False,
    arrival_rate: Annotated[
        float | None, typer.Option(min=0.001, help="Samples a second, for the server scenario.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Search session settings and batch size.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure latency of models side by side, with intervals, in one interleaved session."""
    with answering(as_json=as_json, working="measuring"):
        from slipway.cli.benchmark_view import parse_dimensions, print_benchmark
        from slipway.specs import BenchmarkSpec, SweepSpec
        from slipway.stages.bare import benchmark_files

        result = benchmark_files(
            models,
            golden=golden,
            provider=provider,
            dimensions=parse_dimensions(dim or []),
            options=BenchmarkSpec(
                batch_sizes=tuple(batch_size or [1]),
                queries=queries,
                processes=processes,
                intra_op_threads=threads,
                slo_p99_ms=slo_p99_ms,
                scenarios=(
                    "single-stream",
                    *(("offline",) if offline else ()),
                    *(("server",) if arrival_rate else ()),
                ),
                arrival_rate=arrival_rate,
                sweep=SweepSpec() if sweep else None,
            ),
        )
        answer(
            result,
            as_json=as_json,
            words=lambda: print_benchmark(result),
            passed=result.status != "failed",
        )
        if result.status == "missing environment":
            raise typer.Exit(3)


@app.command()
def verify(bundle: BundleFolder, as_json: Json = False) -> None:
    """Verify that a bundle's files are those that were sealed, and who signed, if a key is set."""
    with answering(as_json=as_json):
        from slipway.packaging.verify import verify_bundle
        from slipway.settings import Settings
        from slipway.stages.signing import check_folder

        report = verify_bundle(bundle)
        if report.passed:
            check_folder(bundle, Settings())

        def words() -> None:
            state = "verified" if report.passed else "NOT as it was sealed"
            say(f"{bundle}: {state}, {report.files} files, {report.digest}")
            tell_findings(report.findings)

        answer(report, as_json=as_json, words=words, passed=report.passed)


@app.command()
def selftest(bundle: BundleFolder, as_json: Json = False) -> None:
    """Verify a bundle, load every variant and replay the golden set."""
    with answering(as_json=as_json, working="replaying"):
        from slipway.stages.bare import selftest_folder

        report = selftest_folder(bundle)

        def words() -> None:
            for variant in report.variants:
                detail = "repeats its answers" if variant.passed else "FAILED"
                detail += f": {variant.reason}" if variant.reason else ""
                say(f"{variant.precision}: {detail}")

        answer(report, as_json=as_json, words=words, passed=report.passed)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this environment has: packages, providers, and which protections hold."""
    with answering(as_json=as_json, working="examining"):
        from slipway.cli.doctor import examine

        report = examine()

        def words() -> None:
            for finding in report.findings:
                mark = "ok     " if finding.ok else "MISSING" if finding.needed else "absent "
                say(f"{mark}  {finding.name}: {finding.detail}")

        answer(report, as_json=as_json, words=words)
        if not report.passed:
            raise typer.Exit(3)


for command in PROMOTING:
    app.command()(command)

store_app = typer.Typer(help="Look after the store of artifacts.", no_args_is_help=True)
app.add_typer(store_app, name="store")


@store_app.command()
def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete; otherwise only say what would be.")
    ] = False,
    older_than_days: Annotated[float, typer.Option(help="Younger objects stay; at least 1.")] = 7.0,
    as_json: Json = False,
) -> None:
    """Find what no registered version and no cached result refers to, and delete it if asked."""
    with answering(as_json=as_json, working="looking"):
        from slipway.stages.collecting import collect

        report = collect(older_than_days=older_than_days, delete=delete)

        def words() -> None:
            verb = "deleted" if report.deleted else "would go with --delete:"
            mib, dead_mib = (n / 2**20 for n in (report.size_bytes, report.unreferenced_bytes))
            say(f"{report.store}: {report.objects} objects, {mib:.1f} MiB; {report.live} in use")
            say(f"{verb} {len(report.unreferenced)} objects, {dead_mib:.1f} MiB")
            if report.folders:
                idle_mib = report.unreferenced_folders_bytes / 2**20
                of = f"of {report.folders} folders that MLflow reads"
                say(f"{verb} {len(report.unreferenced_folders)} {of}, {idle_mib:.1f} MiB")

        answer(report, as_json=as_json, words=words)


@app.command()
def schema() -> None:
    """Print the spec's JSON Schema, for editors to complete and check specs."""
    from slipway.cli.output import print_json
    from slipway.specs import ReleaseSpec

    print_json(ReleaseSpec.model_json_schema())
