"""A browser without a window, as visitors of an example use it."""

import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains

OPTIONS: Final = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--no-first-run",
)


def miss(what: str) -> NoReturn:
    """Skip the test, which needs *what*; fail it where everything is to be run."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {what}")


class Browser:
    """A Chromium with one page.

    Attributes:
        driver: Selenium's driver of it.
        url: Address of the site, with a slash at its end.
        expected: Patterns of the complaints that a test provokes.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.url = ""
        self.expected: list[str] = []
        self._first: list[str] = []

    def open(self, path: str = "/") -> None:
        """Open a page of the site, and wait until it is loaded."""
        self.driver.get(self.url + path.removeprefix("/"))

    def tell(self, command: str, **arguments: Any) -> Any:
        """Give it a command of the DevTools protocol, and return the answer."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page, and return its result."""
        return self.driver.execute_script(script, *arguments)

    def run_first(self, script: str) -> None:
        """Run a script in each page that is opened from now on, before its own."""
        command = "Page.addScriptToEvaluateOnNewDocument"
        self._first.append(self.tell(command, source=script)["identifier"])

    def resize(self, width: int, height: int = 900) -> None:
        """Make the page so large."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.tell("Emulation.setDeviceMetricsOverride", **size, mobile=width < 500)

    def prefer(self, **features: str) -> None:
        """Set what the visitor prefers, as `color_scheme="dark"`."""
        given = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.tell("Emulation.setEmulatedMedia", features=given)

    def let_run(self, *, scripts: bool) -> None:
        """Say whether pages opened from now on may run scripts."""
        self.tell("Emulation.setScriptExecutionDisabled", value=not scripts)

    def each(self, css: str, member: str = "innerText") -> list[Any]:
        """Return a member of each element that *css* selects."""
        found = "[...document.querySelectorAll(arguments[0])]"
        return self.run(f"return {found}.map(each => each[arguments[1]])", css, member)

    def text(self, css: str = "main") -> str:
        """Return the text that a visitor reads in what *css* selects."""
        return "\n".join(self.each(css))

    def click(self, css: str) -> None:
        """Click on the first element that *css* selects."""
        self.driver.find_element("css selector", css).click()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def until(self, condition: Callable[[], Any], *, within: float = 20.0) -> Any:
        """Wait until *condition* holds, and return what it is then."""
        end = time.monotonic() + within
        while not (found := condition()):
            if time.monotonic() > end:
                pytest.fail(f"in vain after {within} s: {self.text()[:400]}")
            time.sleep(0.02)
        return found

    def complaints(self) -> list[str]:
        """Return what has got into the console since the last call, as not expected."""
        told = [str(each["message"]) for each in self.driver.get_log("browser")]
        return [
            each
            for each in told
            if not any(re.search(pattern, each) for pattern in self.expected)
        ]

    def forget(self) -> None:
        """Leave the page, and go back to how it was at the start."""
        self.expected = []
        while self._first:
            given = {"identifier": self._first.pop()}
            self.tell("Page.removeScriptToEvaluateOnNewDocument", **given)
        self.let_run(scripts=True)
        self.prefer()
        self.resize(1280)
        self.driver.set_window_rect(0, 0, 1280, 900)
        self.driver.get("about:blank")
        self.driver.get_log("browser")


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser; skip the test where there is none to run."""
    path = os.environ.get("SE_CHROMEDRIVER") or shutil.which("chromedriver")
    if not path:
        miss("chromedriver on PATH, nor in SE_CHROMEDRIVER")
    options = webdriver.ChromeOptions()
    for option in OPTIONS:
        options.add_argument(option)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, Service(path)) as driver:
        browser = Browser(driver)
        browser.forget()
        yield browser


def read_axe(directory: Path) -> str:
    """Return the script of axe-core; skip the test where there is no npm."""
    npm = shutil.which("npm")
    if npm is None:
        miss("npm on PATH, which brings axe-core")
    command = [npm, "pack", "axe-core@4", "--pack-destination", os.fspath(directory)]
    told = subprocess.run(command, capture_output=True, check=False, encoding="utf-8")
    if told.returncode:
        miss(f"axe-core from npm: {told.stderr}")
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
