"""The house: which room may import which, how long things may be, what a wheel brings and needs."""

import ast
import functools
import graphlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import fitbot
from tests.conftest import ROOT

PACKAGE = ROOT / "fitbot"
FILES = sorted(PACKAGE.rglob("*.py"))
SERVE = sorted((ROOT / "serve").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# From the bottom up: a room imports rooms of lower floors, and its own files without a circle.
FLOORS = (
    "errors version",
    "shipped",
    "platforms report",
    "base_model cluster",
    "pairs",
    "learning/store",
    "generation audit health policy",
    "serving export dpo",
    "evaluation",
    "doctor learning",
    "commands",
    "api",
    "__init__ __main__",
)
# What was chosen is stored by whoever answers, and learned from far above.
STORE = {f"learning/{name}.py" for name in ("events", "queries", "schema", "store")}
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms.split()}

MOST_LINES = {
    **{"function": 60, "file": 450, "DPOModule": 300, "Policy": 250},
    # 21,400 before pages, kernels for all GPUs, doctor, platforms; the health classifier
    # 25,000 before presets, answers in Python, own losses; progress, plain refusals, help of fit
    # 28,500 before SIGTERM, files of other tools and damaged ones
    # 29,200 before completions, fair turns, keys and logs of servers, the page
    # 31,100 before rules that read the question, kinds of the audit, the judge, blind comparison
    # 34,600 before eight losses and weights of pairs; any family of bases
    # 35,200 before exports for Ollama with cards and push; the store of choices, gate and learner
    # 39,000 before serve --learn: routes, versions that answer, supervisor; heads of all families
    "fitbot and serve": 41_500,
}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, *, at_the_top: bool = False) -> Iterator[tuple[str, int]]:
    """Yield (imported file below fitbot/, line), also from functions and from what types need."""
    tree = tree_of(path)
    for node in tree.body if at_the_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "fitbot":
                yield file_of(name), node.lineno


def file_of(name: str) -> str:
    """Find the file, below fitbot/, of a module or of a name in one."""
    parts = name.split(".")[1:]
    for count in range(len(parts), -1, -1):
        folder = PACKAGE.joinpath(*parts[:count])
        for file in (folder.with_suffix(".py"), folder / "__init__.py"):
            if file.is_file() and file != PACKAGE.with_suffix(".py"):
                return str(file.relative_to(PACKAGE))
    raise AssertionError(name)


def room_of(file: str) -> str:
    if file in STORE:
        return "learning/store"
    return file.split("/")[0].removesuffix(".py")


def test_imports_run_downwards_only() -> None:
    assert len(FILES) > 100
    upwards = [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for path in FILES
        for other, line in imports_of(path)
        if room_of(other) != (room := room_of(str(path.relative_to(PACKAGE))))
        and FLOOR[room_of(other)] >= FLOOR[room]
    ]

    assert not upwards, "\n".join(upwards)


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {
        str(path.relative_to(PACKAGE)): {other for other, _ in imports_of(path)} for path in FILES
    }

    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(f"a circle: {' <- '.join(error.args[1])}") from None


def test_the_first_file_of_a_room_imports_nothing() -> None:
    # Whoever imports a file of the room imports this one first, unseen.
    files = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]

    assert not [path for path in files for node in tree_of(path).body[1:]]


def test_what_stands_beside_the_package_serves_and_no_more() -> None:
    imported = {other for path in SERVE for other, _ in imports_of(path)}

    assert imported <= {"__main__.py", "serving/app.py"}
    assert all(len(path.read_text().splitlines()) <= 15 for path in SERVE)


@pytest.mark.parametrize(
    ("word", "only"),
    [
        ("LoraConfig", "base_model/adapter_files.py"),
        ("import bitsandbytes", "base_model/lora.py base_model/nf4.py dpo/optimizer.py"),
        ("apply_chat_template", "pairs/template.py"),
    ],
)
def test_what_one_room_alone_may_name(word: str, only: str) -> None:
    naming = {str(path.relative_to(PACKAGE)) for path in FILES if word in path.read_text()}

    assert naming == set(only.split())


def test_no_module_is_called_utils() -> None:
    assert not list(PACKAGE.rglob("util*.py"))


def test_every_module_says_first_what_it_does() -> None:
    lines = {path: path.read_text(encoding="utf-8").split("\n", 1)[0] for path in FILES + SERVE}

    assert not [path for path, line in lines.items() if not re.match('"""[^ ]', line)]
    assert not [path for path in FILES + SERVE if re.search('"""[^"]*TODO', path.read_text())]


def test_nothing_is_too_long_to_be_read() -> None:
    found: list[tuple[str, str, int]] = []
    for path in FILES + SERVE:
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        found.append(("file", name, len(text.splitlines())))
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                kind = node.name if isinstance(node, ast.ClassDef) else "function"
                found.append((kind, f"{name}:{node.lineno} {node.name}", lines))
    found.append(("fitbot and serve", "", sum(n for kind, _, n in found if kind == "file")))
    kinds = {kind for kind, _, _ in found}

    assert set(MOST_LINES) <= kinds
    long = [f"{x}: {n}" for kind, x, n in found if n > MOST_LINES.get(kind, n)]
    assert not long, "\n".join(long)


def test_tests_mirror_the_package() -> None:
    # What lies beside the package is tested in folders of its own; so are other makers' clients.
    beside = {"benchmarks", "data", "notebooks", "examples", "checkpoints", "clients"}
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}

    strange = [
        str(folder)
        for folder in folders
        if not (PACKAGE / folder).is_dir() and folder.parts[0] not in beside
    ]
    assert not strange


def test_the_wheel_has_every_package_and_what_it_needs() -> None:
    setup = PROJECT["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in PACKAGE.rglob("__init__.py")}
    beside = setup["package-dir"]

    assert set(setup["packages"]) == {".".join(folder.parts) for folder in folders} | set(beside)
    assert set(beside) == {"fitbot.data", "fitbot.presets", "fitbot.tiny"}
    packed = {
        file.relative_to(ROOT)
        for package, patterns in setup["package-data"].items()
        for pattern in patterns
        for file in (ROOT / beside.get(package, package.replace(".", "/"))).glob(pattern)
    }
    assert {path.relative_to(ROOT) for path in needed_files()} <= packed


def needed_files() -> Iterator[Path]:
    """Yield every file but Python's that the package reads."""
    yield from (ROOT / "configs").glob("*.yaml")
    yield from (ROOT / "data").glob("*.json")
    yield from (ROOT / "checkpoints" / "fitbot-tiny").iterdir()
    for path in PACKAGE.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py":
            yield path


def test_the_version_is_said_once() -> None:
    assert PROJECT["project"]["version"] == fitbot.__version__


# -- what is there with the dependencies alone -----------------------------------------------------


def needed_by(names: list[str]) -> set[str]:
    """Return the distributions that these need, themselves included."""
    needed: set[str] = set()
    left = [Requirement(name) for name in names]
    while left:
        wanted = left.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key in needed:
            continue
        try:
            found = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform, or an extra's
            continue
        needed |= {key, name}
        for line in found:
            requirement = Requirement(line)
            extras = wanted.extras or {""}
            if not requirement.marker or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            ):
                left.append(requirement)
    return needed


def kernels_and_their_users() -> Iterator[Path]:
    """Yield the files that cannot be imported without Triton."""
    found = {path for path in FILES if re.search("^import triton", path.read_text(), re.M)}
    while found:
        yield from found
        names = {str(path.relative_to(PACKAGE)) for path in found}
        found = {
            path
            for path in FILES
            if names & {other for other, _ in imports_of(path, at_the_top=True)}
        }


@pytest.mark.slow
def test_every_module_is_imported_with_the_dependencies_alone_and_hides_no_public_name() -> None:
    project = PROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    needed = needed_by(project["dependencies"]) | {"fitbot"}
    optional = needed_by(extras) | {Requirement(line).name for line in extras}
    refused = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & needed
    }
    # Those that this environment may lack, by the names they are imported under.
    refused |= {name.replace("-", "_") for name in optional - needed if "[" not in name}
    assert {"gguf", "ray", "unsloth", "trl", "openai", "pytest", "hypothesis"} <= refused
    assert not {"torch", "lightning", "transformers", "peft", "jsonargparse"} & refused
    # Triton comes with torch where there is a GPU; its kernels are for nowhere else.
    gpu_only = set(kernels_and_their_users()) if "triton" in refused else set()
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if path not in gpu_only
    ]
    assert len(gpu_only) < 10
    functions = [name for name in fitbot.__all__ if not name.startswith("_")]
    code = f"""
import importlib, sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *more):
        return None if name.split(".")[0] in {refused!r} else super().find_spec(name, *more)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
for name in {modules!r}:
    importlib.import_module(name)

import fitbot

# No module of theirs may take the place of the public functions.
assert all(type(getattr(fitbot, name)).__name__ == "function" for name in {functions!r})
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert done.returncode == 0, done.stderr[-3000:]
