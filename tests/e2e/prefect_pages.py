"""Prefect's pages as a person uses them: log in, fill in a form, watch a run, answer it.

Fields are found by the words that stand on the page. What a label belongs to follows it there.
"""

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page

ENDED = ("Completed", "Failed", "Crashed", "Cancelled")


@dataclass(frozen=True)
class Form:
    """A form on a page, or in a dialog."""

    page: Page
    place: Locator

    def field(self, label: str, number: int = 0) -> Locator:
        """The label of a field; the page adds that it is optional."""
        names = f"normalize-space()='{label}' or normalize-space()='{label} (Optional)'"
        return self.place.locator(f"xpath=.//label[{names}]").nth(number)

    def write(self, label: str, text: str, number: int = 0) -> None:
        """Fill in a line."""
        self._after(label, "*[self::textarea or self::input]", number).fill(text)

    def turn_on(self, label: str) -> None:
        """Turn a switch."""
        self._after(label, "button[@role='switch']").click()

    def give(self, label: str, kind: str = "str") -> None:
        """Say that an optional field has a value."""
        self._after(label, f"button[normalize-space()='{kind}']").click()

    def choose(self, label: str, value: str) -> None:
        """Take one of a list."""
        self._after(label, "button[@aria-haspopup='listbox']").click()
        self.page.get_by_role("option", name=value, exact=True).click()

    def _after(self, label: str, what: str, number: int = 0) -> Locator:
        return self.field(label, number).locator(f"xpath=(following::{what})[1]")


@dataclass(frozen=True)
class PrefectPages:
    """The UI of a server."""

    page: Page
    address: str

    def log_in(self, login: str) -> None:
        """Give user and password, in the one field that there is for them."""
        self.page.goto(self.address)
        self.page.get_by_placeholder("admin:pass").fill(login)
        self.page.get_by_role("button", name="Login").click()
        self.page.get_by_role("link", name="Deployments").wait_for()

    def open_form(self, deployment: str) -> Form:
        """The form of a deployment, from the list of them."""
        self.page.get_by_role("link", name="Deployments").click()
        self.page.get_by_role("link", name=deployment, exact=True).first.click()
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.page.get_by_role("heading", name="Parameters").wait_for()
        return Form(self.page, self.page.locator("main"))

    def submit(self) -> None:
        """Send the form, and go to the run that it starts."""
        self.page.get_by_role("button", name="Submit").click()
        self.page.get_by_role("button", name="View run").click()
        self.page.wait_for_url("**/flow-run/**")
        self.page.mouse.move(0, 0)  # a message that the mouse is over stays

    def watch(self, *states: str, limit_s: float) -> str:
        """Look at the run's page, which renews itself, until it is in one of the states."""
        word = re.compile(f"^({'|'.join({*states, *ENDED})})$")
        badge = self.page.locator("main [data-slot=badge]").get_by_text(word).first
        badge.wait_for(timeout=limit_s * 1000)
        return badge.inner_text()

    def answer(self) -> Form:
        """The form of a run that waits."""
        self.page.get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name="Resume").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="Resume").wait_for()
        return Form(self.page, dialog)

    def open_artifact(self, key: str) -> None:
        """The latest artifact of that name which the run has left."""
        self.page.get_by_role("tab", name="Artifacts").click()
        self.page.get_by_role("link", name=key).first.click()
        self.page.locator("main a[href*='/artifacts/artifact/']").first.click()
        self.page.wait_for_url("**/artifacts/artifact/**")
