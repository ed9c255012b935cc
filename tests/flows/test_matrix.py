"""One regression in several toolchains: this environment, another runtime, and one that fails."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from flows.matrix import matrix
from slipway.registries import open_registry
from slipway.reports import MatrixReport
from slipway.settings import Settings
from slipway.specs import MatrixSpec
from slipway.stages.toolchains import checkout
from tests.flows.running import Ran

pytestmark = [
    pytest.mark.usefixtures("prefect_client", "first"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
OTHER_RUNTIME = "1.30.0"
INSTALL_LIMIT_S = 300


@pytest.fixture(scope="module")
def other_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with another onnxruntime, and all else as here."""
    folder = tmp_path_factory.mktemp("other") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    here = sysconfig.get_path("purelib")
    wanted = f"onnxruntime=={OTHER_RUNTIME}"
    uv = Path(sys.executable).with_name("uv")
    command = [
        str(uv if uv.exists() else "uv"),
        "pip",
        "install",
        "--no-deps",
        "--target",
        str(site),
    ]
    try:
        subprocess.run([*command, wanted], check=True, capture_output=True, timeout=INSTALL_LIMIT_S)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{wanted} cannot be had here: {error}")
    (site / "zz-here.pth").write_text(
        f"{checkout()}\n{here}\nimport site; site.addsitedir({here!r})\n", encoding="utf-8"
    )
    return folder / "bin" / "python"


def test_each_toolchain_has_its_verdict_and_its_own_series(
    home: Path, prefect_api: str, other_runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    registry = open_registry(Settings().registry_uri)
    registry.set_alias("tiny", "champion", 1)
    ran = Ran(
        matrix(
            MatrixSpec.model_validate(
                {
                    "toolchains": {
                        "current": {},
                        "other-runtime": {"python": str(other_runtime)},
                        "next": {"lock": str(home / "no-such-lock.txt")},
                    },
                    "regression": {"advisories": "off", "latency": False},
                }
            ),
            return_state=True,
        )
    )
    assert ran.state.is_failed()
    assert "next" in str(ran.state.message)
    found = ran.found
    assert isinstance(found, MatrixReport)
    current, other, lost = found.toolchains
    assert current.passed, current
    assert current.report is not None
    assert other.report is not None, other.reason
    (tiny,) = other.report.models
    changes = {it.tool: (it.before, it.after) for it in tiny.changed_tools}
    assert changes["onnxruntime"][1] == OTHER_RUNTIME
    assert tiny.passed, tiny.regressions
    assert not lost.passed
    assert "no lock file" in str(lost.reason)
    assert len(registry.recorded("tiny", "regression-current")) == 1
    assert len(registry.recorded("tiny", "regression-other-runtime")) == 1
    table = str(next(it for it in ran.artifacts() if it.key == "matrix").data)
    assert '"other-runtime": "fit"' in table
    assert '"next": "not fit"' in table
