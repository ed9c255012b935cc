"""A release and its promotion as people do them: in a browser, against what `make up` starts.

`make pictures` keeps the screenshots that the README shows, by SLIPWAY_PICTURES.
"""

import importlib.util
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    HttpCredentials,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

from infra.topology.services import prefect
from infra.topology.site import ADMIN, Site
from tests.e2e.prefect_pages import PrefectPages
from tests.topology import ROOT, bring_up, folder_for_one

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHROMIUM = shutil.which("chromium")
COLOURS = 64
SIZE = ViewportSize(width=1280, height=900)
PATIENCE_S = 60.0
RUN_LIMIT_S = 240.0
NAME = "cancer-xgboost"
DANA, RHEA = "Dana (data science)", "Rhea (release manager)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which finds no machine but this one."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # root has none, and all pages are ours
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        expect.set_options(timeout=PATIENCE_S * 1000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def site(browser: Browser) -> Iterator[Site]:  # noqa: ARG001 - without one, nothing is started
    """The topology, up."""
    with folder_for_one() as folder:
        yield bring_up(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots go."""
    kept = os.environ.get("SLIPWAY_PICTURES")
    return Path(kept) if kept else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def trained(site: Site) -> Path:
    """The folder of a model that the example's own script has trained."""
    script = ROOT / "examples" / NAME / "train.py"
    found = importlib.util.spec_from_file_location("train", script)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    out = site.folder.parent / "trained"
    vars(module)["OUT"] = out
    module.main()
    return out


@pytest.fixture
def ui(browser: Browser, site: Site) -> Iterator[PrefectPages]:
    """Prefect's UI, for somebody who has logged in."""
    with browser.new_context(viewport=SIZE) as context:
        context.set_default_timeout(PATIENCE_S * 1000)
        pages = PrefectPages(context.new_page(), site.url("prefect"))
        pages.log_in(prefect.login(site))
        yield pages


@pytest.fixture
def mlflow(browser: Browser, site: Site) -> Iterator[Page]:
    """A page for MLflow's UI, whose log-in is the browser's own."""
    login = HttpCredentials(username=ADMIN, password=site.secret("mlflow-admin"))
    with browser.new_context(viewport=SIZE, http_credentials=login) as context:
        context.set_default_timeout(PATIENCE_S * 1000)
        yield context.new_page()


def keep(page: Page, path: Path) -> None:
    """What is seen, in as many colours as it needs."""
    page.wait_for_timeout(1000)  # for the last of its pictures; nothing rests on it
    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    path.parent.mkdir(parents=True, exist_ok=True)
    seen.convert("RGB").quantize(COLOURS).save(path, optimize=True)


def test_a_data_scientist_fills_in_the_form_and_follows_the_link_to_the_version(
    ui: PrefectPages, mlflow: Page, trained: Path, pictures: Path
) -> None:
    form = ui.open_form("release")
    form.write("Name", NAME)
    form.give("Framework")
    form.choose("Framework", "xgboost")
    form.write("Uri", str(trained / "model.ubj"))
    keep(ui.page, pictures / "form.png")
    form.give("Evaluation")
    form.write("Evaluation", str(trained / "evaluation.parquet"))
    form.write("Labels", "benign")
    form.give("Metric")
    form.choose("Metric", "accuracy")
    form.give("Register", "Register")
    form.write("Name", NAME, number=1)
    form.give("Promotion", "Policy")
    form.write("Approvals", "1")
    ui.submit()

    assert ui.watch(limit_s=RUN_LIMIT_S) == "Completed"
    expect(ui.page.get_by_text(f"release {NAME}").first).to_be_visible()
    ui.page.reload()  # its diagram is drawn to the time that the run took
    expect(ui.page.locator("main canvas")).to_be_visible()
    keep(ui.page, pictures / "run.png")
    ui.open_artifact(f"release-{NAME}")
    link = ui.page.get_by_role("link", name=f"{NAME} version 1 in MLflow")
    expect(link).to_be_visible()
    expect(ui.page.get_by_role("heading", name=f"{NAME}: passed")).to_be_visible()
    keep(ui.page, pictures / "release.png")
    mlflow.goto(str(link.get_attribute("href")))
    expect(mlflow.get_by_text("@ challenger")).to_be_visible()
    expect(mlflow.get_by_role("heading", name="Version 1")).to_be_visible()


def test_a_release_manager_approves_the_promotion_that_somebody_else_asks_for(
    ui: PrefectPages, mlflow: Page, site: Site, pictures: Path
) -> None:
    form = ui.open_form("promote")
    form.write("Name", NAME)
    form.write("Version", "1")
    form.give("Reason")
    form.write("Reason", "As accurate as the model that was trained")
    form.write("By", DANA)
    ui.submit()
    assert ui.watch("Suspended", limit_s=RUN_LIMIT_S) == "Suspended"

    approval = ui.answer()
    expect(approval.place.get_by_text(f"Point champion of {NAME} at version 1?")).to_be_visible()
    expect(approval.place.get_by_text(f"asked by {DANA}")).to_be_visible()
    keep(ui.page, pictures / "approval.png")
    approval.turn_on("Approve")
    approval.write("By", RHEA)
    approval.place.get_by_role("button", name="Resume").click()
    approval.place.wait_for(state="detached")
    assert ui.watch(limit_s=RUN_LIMIT_S) == "Completed"

    mlflow.goto(f"{site.url('mlflow')}/#/models/{NAME}/versions/1")
    expect(mlflow.get_by_text("@ champion")).to_be_visible()
    expect(mlflow.get_by_text(f"by {DANA}; approved by {RHEA}")).to_be_visible()
