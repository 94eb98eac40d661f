"""What is run on this project: `nox -s tests`, `lint`, `typing` and their siblings."""

import os
import pathlib
import shutil

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_external_run = True
# An interpreter that is missing is passed over; with CI=true nox would fail.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
nox.options.sessions = ["tests", "lint", "typing"]

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
TEST_TOOLS = nox.project.dependency_groups(PROJECT, "test")
# The installed package is what is tested: the checkout must not get onto sys.path.
ENV = {"PYTHONSAFEPATH": "1", "COVERAGE_CORE": "ctrace"}
SPREAD = ("-n", "auto", "--dist", "loadfile")

# The stand-ins that pyenv puts on PATH fail, but for the versions that it is told of.
PYENV = pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
VERSIONS = ":".join(each.name for each in PYENV.glob("versions/3.*"))
os.environ.setdefault("PYENV_VERSION", VERSIONS)
# Without any, a session runs on the interpreter that nox runs on.
FOUND = [each for each in PYTHONS if shutil.which(f"python{each}")] or [None]


def lowest_versions() -> list[str]:
    """Pin each dependency, those of the extras too, to its lowest version."""
    project = PROJECT["project"]
    requirements = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        requirements += extra
    return [spec.split(",")[0].replace(">=", "==") for spec in requirements]


def install(session: nox.Session, *more: str) -> None:
    """Install the package with its extras and the test tools."""
    session.install(".[cli,redis]", *TEST_TOOLS, *more)


def run_all(session: nox.Session, *pytest: str) -> None:
    """Run the whole suite, or what the session's arguments name."""
    if session.posargs:
        session.run(*pytest, *session.posargs, env=ENV)
    else:
        # What measures time is run by itself, the rest on all processors.
        session.run(*pytest, *SPREAD, "-m", "not soak and not timing", env=ENV)
        session.run(*pytest, "-m", "not soak and timing", env=ENV)


def run_most(session: nox.Session, *pins: str) -> None:
    """Run what may depend on versions: no laws, and nothing that measures time."""
    install(session, *pins)
    most = (*SPREAD, "-m", "not soak and not timing and not property")
    session.run("pytest", *(session.posargs or most), env=ENV)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite on the interpreter that nox runs on, and check the coverage."""
    install(session)
    session.run("coverage", "erase", env=ENV)
    try:
        run_all(session, "coverage", "run", "-m", "pytest")
    finally:
        # Processes that tests kill leave files half-written, of which nothing is lost.
        combine = ("-W", "ignore:Data file", "-m", "coverage", "combine", "--quiet")
        session.run("python", *combine, env=ENV, success_codes=[0, 1])
    if not session.posargs:
        session.run("coverage", "report", env=ENV)


@nox.session(name="tests-all", python=PYTHONS)
def tests_all(session: nox.Session) -> None:
    """Run the suite on every supported interpreter that is found."""
    install(session)
    run_all(session, "pytest")


@nox.session(name="tests-newest", python=FOUND[-1])
def tests_newest(session: nox.Session) -> None:
    """Run most of the suite on the newest interpreter that is found."""
    run_most(session)


@nox.session(name="tests-lowest", python=FOUND[0])
def tests_lowest(session: nox.Session) -> None:
    """Run most of the suite on the lowest versions of all dependencies."""
    run_most(session, *lowest_versions())


@nox.session
def contract(session: nox.Session) -> None:
    """Ask the emulator what the contract states, or a service by `-- --service`."""
    session.install(".", "pytest>=8.3")
    config = "tests/contract/pytest.ini"
    session.run("pytest", "-c", config, "tests/contract", *session.posargs, env=ENV)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install("ruff>=0.14,<1")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of the package, of its use, and that all of it has some."""
    install(session, "mypy>=1.14", "pyright[nodejs]>=1.1.390")
    session.run("mypy")
    strict = ("--strict", "--warn-unreachable")
    session.run("mypy", *strict, "tests/typing", "examples")
    session.run("pyright", "tests/typing")
    session.run("pyright", "--verifytypes", "emogg_async", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the API reference and the guides in `build/docs`, and check them."""
    session.install(".[cli,redis,otel]", "pdoc>=15", "pytest>=8.3", "starlette>=0.41")
    session.run("python", "tests/reference.py", "build/docs", env=ENV)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, side by side in one run; `-- --against REVISION` measures that, too."""
    install(session)
    for script in sorted(pathlib.Path("tests/benchmarks").glob("bench_*.py")):
        session.run("python", os.fspath(script), *session.posargs, env=ENV)


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes minutes: full-size rows, and 10,000 examples for each property."""
    install(session)
    session.run(
        *("pytest", "-m", "soak or property", "-rA", "-s"),
        *("--timeout", "1800", "-o", "faulthandler_timeout=0"),
        *session.posargs,
        env={**ENV, "HYPOTHESIS_PROFILE": "soak"},
    )


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the code at random and see what the tests notice; takes half an hour."""
    install(session, "mutmut>=3.8,<4")
    session.run("python", "tests/mutants.py", *session.posargs)
