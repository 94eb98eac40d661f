"""What is run on this project: `nox -s tests`, `lint`, `typing` and their siblings."""

import os
import pathlib
import shutil
import tarfile
import tempfile

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
# What may depend on versions: no laws, no browser, and nothing that measures time.
MOST = (*SPREAD, "-m", "not soak and not timing and not property and not once")
# The tests that read files beside the package, and two minutes of the others.
PART = (
    *("tests/wire", "tests/calls", "tests/many", "tests/testing"),
    *("tests/test_architecture.py", "tests/test_examples.py"),
    *("tests/test_exports.py", "tests/test_readme.py"),
)

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


def run_suite(session: nox.Session, *pytest: str) -> None:
    """Run the whole suite."""
    # What measures time is run by itself, the rest on all processors.
    session.run(*pytest, *SPREAD, "-m", "not soak and not timing", env=ENV)
    session.run(*pytest, "-m", "not soak and timing", env=ENV)


def run_all(session: nox.Session, *pytest: str) -> None:
    """Run the whole suite, or what the session's arguments name."""
    if session.posargs:
        session.run(*pytest, *session.posargs, env=ENV)
    else:
        run_suite(session, *pytest)


def run_most(session: nox.Session, *pins: str) -> None:
    """Run most of the suite, or what the session's arguments name."""
    install(session, *pins)
    session.run("pytest", *(session.posargs or MOST), env=ENV)


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
    session.install(".", "pytest>=9")
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
    session.install(".[cli,redis,otel]", "pdoc>=15", "pytest>=9", "starlette>=0.41")
    session.run("python", "tests/reference.py", "build/docs", env=ENV)


def build_twice(session: nox.Session, scratch: pathlib.Path) -> list[pathlib.Path]:
    """Build here and from the unpacked sdist, and expect the same bytes.

    Returns the sdist, the wheel and what the sdist contains.
    """
    versioned = pathlib.Path(".git").exists()
    env = {}  # elsewhere hatchling takes a fixed date
    if versioned:
        git = ("git", "log", "-1", "--format=%ct")
        env["SOURCE_DATE_EPOCH"] = session.run(*git, external=True, silent=True).strip()
    command = ("python", "-m", "hatchling", "build", "-d")
    session.run(*command, scratch / "here", env=env)
    built = sorted(scratch.glob("here/*"), key=lambda each: each.suffix)
    with tarfile.open(built[0]) as sdist:
        sdist.extractall(scratch, filter="data")
        files = {each.partition("/")[2] for each in sdist.getnames()}
    unpacked = scratch / built[0].name.removesuffix(".tar.gz")
    with session.chdir(unpacked):
        session.run(*command, scratch / "there", env=env)
    for each in built:
        if each.read_bytes() != (scratch / "there" / each.name).read_bytes():
            session.error(f"{each.name} has other bytes when it is built again")
    if versioned:
        known = session.run("git", "ls-files", external=True, silent=True).splitlines()
        if amiss := files.symmetric_difference([*known, "PKG-INFO"]):
            session.error(f"not in both git and the sdist: {', '.join(sorted(amiss))}")
    return [*built, unpacked]


@nox.session(name="dist", python=FOUND[len(FOUND) // 2])
def dist(session: nox.Session) -> None:
    """Build sdist and wheel, check them and use both; `-- --all` runs all tests."""
    tools = ("twine>=6", "check-wheel-contents>=0.6")
    session.install(*PROJECT["build-system"]["requires"], *tools)
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        sdist, wheel, unpacked = build_twice(session, scratch)
        session.run("twine", "check", "--strict", sdist, wheel)
        session.run("check-wheel-contents", wheel)

        session.run("python", "-m", "venv", scratch / "bare")
        bare = scratch / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
        with session.chdir(unpacked / "tests"):  # out of reach of the checkout
            session.run(bare, "-m", "pip", "install", "-q", wheel, external=True)
            session.run(bare, "bare.py", env=ENV, external=True)

        with session.chdir(unpacked):
            install(session)
            if "--all" in session.posargs:
                run_suite(session, "pytest")
            else:
                session.run("pytest", *MOST, *PART, env=ENV)

        pathlib.Path("dist").mkdir(exist_ok=True)
        for each in (sdist, wheel):
            session.log(f"{shutil.copy(each, 'dist')} has passed")


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
