"""The floors of docs/architecture.md, read from the imports of the installed gpumask."""

import ast
import graphlib
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = {
    "errors": 0,
    "units": 1,
    "cuda": 1,
    "uncached": 1,
    "star": 1,
    "emdb": 1,
    "residue_names": 1,
    "volume": 2,
    "recipe": 2,
    "_cpu": 2,
    "_gpu": 2,
    "io": 3,
    "backend": 3,
    "filters": 4,
    "algebra": 4,
    "symmetry": 4,
    "watershed": 4,
    "interpolation": 4,
    "grids": 4,
    "positions": 4,
    "regions": 4,
    "segmentation": 4,
    "region_tree": 4,
    "region_file": 4,
    "segger": 4,
    "mask": 4,
    "morphology": 4,
    "thresholds": 4,
    "fourier": 4,
    "simulation": 4,
    "spectrum": 4,
    "phases": 4,
    "correlation": 4,
    "directional": 4,
    "resolution": 4,
    "local_resolution": 4,
    "model_fit": 4,
    "coverage": 4,
    "shapes": 4,
    "residues": 4,
    "selection": 4,
    "models": 4,
    "sharpening": 4,
    "edges": 4,
    "pipeline": 5,
    "slabs": 5,
    "sweeps": 5,
    "choices": 5,
    "advisor": 5,
    "report": 6,
    "job": 7,
    "batching": 8,
    "benchmarks": 9,
    "cli": 9,
}
# gpumask/__init__.py, which names what is public, is of no use below job: there the modules import each other
FLOORS["gpumask"] = FLOORS["job"]
FLOORS["__main__"] = FLOORS["cli"]

ARCHITECTURE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
# distributions of the extras; a module that needs one is imported only where it is installed
OPTIONAL = {"numba", "cupy", "cupyx", "matplotlib", "h5py", "gemmi"}

PACKAGE = Path(importlib.util.find_spec("gpumask").submodule_search_locations[0])


def dotted(path):
    parts = ["gpumask", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def word(module):
    """The word of the table that a module belongs to."""
    return module.split(".")[1] if "." in module else module


def tree(module):
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imports(module):
    """The modules of gpumask that a module imports, wherever in its text, each with its line."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                is_module = name in MODULES or (base == "gpumask" and alias.name in FLOORS)
                names.append(name if is_module else base)
        for name in names:
            if name.split(".")[0] == "gpumask":
                yield name, node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert word(module) in FLOORS, (
        f"{module} has no floor: add '{word(module)}' to the table of docs/architecture.md and to FLOORS"
    )
    for name, line in imports(module):
        assert FLOORS.get(word(name), 99) <= FLOORS[word(module)], (
            f"{module}, line {line}: imports {name}, which is on a higher floor or on none"
        )


def test_imports_have_no_cycle():
    # a module may call the front door of its own package, as one verb of cli runs another through cli.main
    graph = {module: {name for name, _ in imports(module)} - {module, module.rpartition(".")[0]} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()


def test_floors_are_those_of_the_architecture():
    if not ARCHITECTURE.exists():
        pytest.skip(f"no {ARCHITECTURE}")
    rows = re.findall(r"(?m)^\| (\d+) \| ([^|]+) \|", ARCHITECTURE.read_text(encoding="utf-8"))
    table = {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert table == {name: floor for name, floor in FLOORS.items() if name not in ("gpumask", "__main__")}


def is_print(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"


def is_environment(node):
    names = {"environ", "environb", "getenv", "putenv"}
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in names for alias in node.names)
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in names
    )


def is_drawing(node):
    names = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return any(name.split(".")[0] == "matplotlib" for name in names)


BELOW_REPORT = [module for module in MODULES if FLOORS.get(word(module), 0) < FLOORS["report"]]


@pytest.mark.parametrize("module", BELOW_REPORT)
def test_below_report_nothing_prints_draws_or_reads_the_environment(module):
    allowed = set()
    if module == "gpumask.backend":
        choose = [node for node in tree(module).body if getattr(node, "name", "") == "choose"]
        allowed = {node.lineno for function in choose for node in ast.walk(function) if is_environment(node)}
    for node in ast.walk(tree(module)):
        where = f"{module}, line {getattr(node, 'lineno', 0)}"
        assert not is_print(node), f"{where}: prints; return the value and let cli print it"
        assert not is_drawing(node), f"{where}: draws; that is the work of report"
        assert not is_environment(node) or node.lineno in allowed, (
            f"{where}: reads the environment; only backend.choose does, others take an argument"
        )


@pytest.mark.parametrize("module", [module for module in MODULES if word(module) != "__main__"])
def test_module_imports(module):
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not installed")


IMPORT = "import gpumask"
HELP = """
from gpumask.cli import main
sys.argv = ["gpumask", "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""


@pytest.mark.parametrize("start", [IMPORT, HELP], ids=["import gpumask", "gpumask --help"])
def test_start_imports_the_standard_library_only(start):
    """What costs time, or an extra that is not there, is imported where it is first used."""
    code = f"import sys\nbefore = set(sys.modules)\n{start}\nprint(*set(sys.modules) - before, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    names = {name.split(".")[0] for name in result.stderr.split()}
    assert names - sys.stdlib_module_names == {"gpumask"}
