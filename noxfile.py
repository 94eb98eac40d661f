"""What is run on this project: `nox -s tests`, `lint`, `typing` and their siblings."""

import os
import pathlib

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_external_run = True
# An interpreter that is missing is passed over; with CI=true nox would fail.
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "typing"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
TEST_TOOLS = nox.project.dependency_groups(PROJECT, "test")
# The installed package is what is tested: the checkout must not get onto sys.path.
ENV = {"PYTHONSAFEPATH": "1", "COVERAGE_CORE": "ctrace"}


def lowest_versions() -> list[str]:
    """Pin each dependency, those of the extras too, to its lowest version."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + extras["cli"] + extras["redis"]
    return [spec.split(",")[0].replace(">=", "==") for spec in requirements]


def run_tests(session: nox.Session, *pins: str) -> None:
    """Install the package with its extras and run the suite on it."""
    session.install(".[cli,redis]", *TEST_TOOLS, *pins)
    session.run("coverage", "erase", env=ENV)
    pytest = ("coverage", "run", "-m", "pytest")
    try:
        if session.posargs:
            session.run(*pytest, *session.posargs, env=ENV)
        else:
            # What measures time is run by itself, the rest on all processors.
            spread = ("-n", "auto", "--dist", "loadfile")
            session.run(*pytest, *spread, "-m", "not soak and not timing", env=ENV)
            session.run(*pytest, "-m", "not soak and timing", env=ENV)
    finally:
        session.run("coverage", "combine", "--quiet", env=ENV, success_codes=[0, 1])


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite on the interpreter that nox runs on, and check the coverage."""
    run_tests(session)
    if not session.posargs:
        session.run("coverage", "report", env=ENV)


@nox.session(name="tests-all", python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """Run the suite on every supported interpreter that is found."""
    run_tests(session)


@nox.session(name="tests-lowest", python=PYTHONS[0])
def tests_lowest(session: nox.Session) -> None:
    """Run the suite on the lowest versions of all dependencies."""
    run_tests(session, *lowest_versions())


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.14,<1")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the package, of its use, and that all of it has some."""
    session.install(
        ".[cli,redis]", *TEST_TOOLS, "mypy>=1.14", "pyright[nodejs]>=1.1.390"
    )
    session.run("mypy")
    strict = ("--strict", "--warn-unreachable")
    session.run("mypy", *strict, "tests/typing", "examples")
    session.run("pyright", "tests/typing")
    session.run("pyright", "--verifytypes", "emogg_async", "--ignoreexternal")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, side by side in one run; prints figures and asserts nothing."""
    session.install(".[cli,redis]", *TEST_TOOLS)
    for script in sorted(pathlib.Path("tests/benchmarks").glob("bench_*.py")):
        session.run("python", os.fspath(script), *session.posargs, env=ENV)


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes minutes: full-size rows, and 10,000 examples for each property."""
    session.install(".[cli,redis]", *TEST_TOOLS)
    session.run(
        *("pytest", "-m", "soak or property", "-rA", "-s"),
        *("--timeout", "1800", "-o", "faulthandler_timeout=0"),
        *session.posargs,
        env={**ENV, "HYPOTHESIS_PROFILE": "soak"},
    )
