"""Environments with a framework: tests of the adapters, each against its own (`make test-frameworks`), and training.
Environments with other Pythons and versions of packages (`make test-python`)."""

from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.reuse_existing_virtualenvs = True

# The versions that an adapter is tested with: the newest, and the oldest it supports with what was current beside that.
TRL = {
    "newest": ("trl==1.16.0", "transformers==5.23.0", "accelerate==1.15.0", "datasets==5.2.0"),
    "oldest": ("trl==1.0.0", "transformers==5.4.0", "accelerate==1.13.0", "datasets==4.8.4", "jmespath==1.1.0"),
}

TRL_TESTS = [f"tests/frameworks/test_{name}.py" for name in ("trl", "trl_tools", "shared")]

# verl's wheel leaves out what the rest of these bring; its extra of that name brings CUDA too.
VERL = ("verl==0.9.1", "cachetools", "fastapi", "msgspec", "pyzmq", "TransferQueue==0.1.11", "uvicorn")

# skyrl's wheel asks for less than its trainer imports; its extras bring CUDA too.
SKYRL = (
    "skyrl==0.3.0",
    "skyrl-gym==0.4.0",
    "ray==2.56.0",
    "accelerate",
    "aiohttp",
    "fastapi",
    "func_timeout",
    "hydra-core==1.3.2",
    "jaxtyping",
    "loguru",
    "omegaconf",
    "polars",
    "tensorboard",
    "tensordict",
    "torchdata",
    "uvicorn",
)

TUNIX = ("google-tunix==0.1.7", "jax==0.10.2")


def install(session: nox.Session, *framework: str, extras: str = "testing", torch: bool = True) -> None:
    """torch first and by itself, so that nothing else picks a build of it. The constraints are those of CI, without
    tokenizers: the version of transformers decides about that."""
    lines = Path("constraints.txt").read_text().splitlines()
    constraints = Path(session.virtualenv.location, "constraints.txt")  # Ray refuses a TMPDIR in there
    constraints.write_text("\n".join(line for line in lines if not line.startswith("tokenizers==")))
    options = ("--quiet", "--disable-pip-version-check", "--constraint", str(constraints))
    if torch:
        session.install(*options, "torch")
    session.install(*options, "--editable", f".[{extras}]", *framework)


def check(session: nox.Session, *files: str, require: str) -> None:
    session.run("python", "-m", "pytest", *files, *session.posargs, env={"SHAPLEY_REQUIRE": require})


EXTRAS = ("bench", "cli", "testing", "torch")
COMPILED = "tests/kernels/test_triton_compile.py"
PLAIN = ("tests", f"--ignore={COMPILED}", "--ignore=tests/frameworks", "--ignore=tests/peers")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"], default=False)
def newest(session: nox.Session) -> None:
    """Without constraints: what `pip install` brings today."""
    session.install("--quiet", "--editable", f".[{','.join(EXTRAS)}]")
    session.run("python", "-m", "pytest", *(session.posargs or PLAIN))


@nox.session(python=["3.10"], default=False)
def oldest(session: nox.Session) -> None:
    """The least versions that pyproject.toml allows."""
    project = nox.project.load_toml()["project"]
    extras = (project["optional-dependencies"][name] for name in EXTRAS)
    wanted = [*project["dependencies"], *chain.from_iterable(extras)]
    session.install("--quiet", "--editable", ".", *(one.replace(">=", "==") for one in wanted))
    old_calls = "ignore::DeprecationWarning"  # of packages that are newer than these, which they require
    session.run("python", "-m", "pytest", "-W", old_calls, *(session.posargs or PLAIN))


@nox.session
def trl_oldest(session: nox.Session) -> None:
    install(session, *TRL["oldest"])
    check(session, *TRL_TESTS, require="trl")


@nox.session
def trl_newest(session: nox.Session) -> None:
    install(session, *TRL["newest"])
    check(
        session,
        *TRL_TESTS,
        "tests/frameworks/test_learning.py",
        require="trl",
    )
    session.run("python", "examples/trl_lists.py")
    for what in ("maxrl", "pass@4"):
        session.run("python", "examples/trl_pass_at_k.py", what)


@nox.session
def verl(session: nox.Session) -> None:
    install(session, *VERL)
    # verl leaves an event loop open, which is found when the interpreter ends
    check(
        session,
        "-W",
        "ignore::ResourceWarning",
        "tests/frameworks/test_verl.py",
        "tests/frameworks/test_shared.py",
        require="verl",
    )


@nox.session
def skyrl(session: nox.Session) -> None:
    install(session, *SKYRL)
    check(session, "tests/frameworks/test_skyrl.py", "tests/frameworks/test_shared.py", require="skyrl")


@nox.session
def ray(session: nox.Session) -> None:
    """The command `shapley-allocate --engine ray`, which needs no torch."""
    install(session, "ray==2.60.0", extras="cli,ray,testing", torch=False)
    check(session, "tests/frameworks/test_ray.py", require="ray")


@nox.session
def tunix(session: nox.Session) -> None:
    """The recipe for Tunix, with its learner and its loss, on arrays of JAX."""
    install(session, *TUNIX, extras="testing", torch=False)
    check(session, "tests/frameworks/test_tunix.py", require="tunix")


@nox.session(default=False)
def learning(session: nox.Session) -> None:
    """`make learning`: hours the first time; it goes on where it was stopped."""
    install(session, *TRL["newest"], extras="bench")
    # for the ratings of MovieLens-100K in its wheel, which stay in this environment
    session.install("--quiet", "--no-deps", "recbole==1.2.1")
    trained = [[name, *session.posargs] for name in ("simulate", "films", "dice", "run")]
    for command in (["exact"], *trained, ["page"]):
        session.run("python", "-m", "benchmarks.learning", *command)
