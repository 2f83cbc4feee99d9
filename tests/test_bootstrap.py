"""bootstrap.py: what it starts, in which order, on machines that lack something."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEBIAN_PYTHON = Path("/usr/bin/python3")
PYPROJECT = """
[build-system]
requires = ["hatchling>=1.18"]
build-backend = "hatchling.build"

[project]
name = "gpumask"
version = "0"

[project.optional-dependencies]
fast = []
plot = []
test = []

[project.scripts]
gpumask = "gpumask:main"
"""

pytestmark = pytest.mark.skipif(not (ROOT / "bootstrap.py").exists(), reason="bootstrap.py is not beside tests/")


@pytest.fixture
def checkout(tmp_path):
    """A checkout of a tiny gpumask, in a folder with a space in its name."""
    folder = tmp_path / "check out"
    (folder / "gpumask").mkdir(parents=True)
    (folder / "gpumask" / "__init__.py").write_text("import sys\n\ndef main():\n    print(sys.argv[1:])\n")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    shutil.copy(ROOT / "bootstrap.py", folder)
    return folder


@pytest.fixture
def bootstrap(checkout):
    spec = importlib.util.spec_from_file_location("bootstrap", checkout / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.driver_version = lambda: 0
    return module


class Machine:
    """Stands for subprocess: notes what is started, and lets fail what ``fails`` says."""

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.fails = lambda line: False
        self.lines = []

    def __call__(self, command, **options):
        line = " ".join(str(word) for word in command).replace(f"{self.bootstrap.VENV}/bin/", "")
        self.lines.append(line)
        if "-m venv" in line:
            self.bootstrap.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            self.bootstrap.PYTHON.touch()
        return subprocess.CompletedProcess(command, int(self.fails(line)), stdout="output\nreason\n")

    def started(self):
        """The commands since the last time this was asked, as lines without the folder of .venv."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def machine(bootstrap, monkeypatch):
    machine = Machine(bootstrap)
    monkeypatch.setattr(bootstrap, "run", machine)
    return machine


NEW = f"{sys.executable} -m venv --clear"
DEMO = "gpumask demo -o demo --force"


def pip(extras):
    return f"python -m pip install --only-binary numba,llvmlite --editable .[{extras}]"


def without_ensurepip(line):
    return "-m venv" in line and "--without-pip" not in line


def test_second_call_starts_the_program_only(bootstrap, machine):
    assert bootstrap.main(["demo"]) == 0
    assert machine.started() == [f"{NEW} {bootstrap.VENV}", pip("fast,plot"), DEMO]
    assert bootstrap.main(["demo", "--size", "3"]) == 0
    assert machine.started() == [f"{DEMO} --size 3"]


def test_extras_are_added_to_the_environment_that_is_there(bootstrap, machine):
    bootstrap.main(["demo"])
    machine.started()
    bootstrap.main(["test", "-k", "law"])
    assert machine.started() == [pip("fast,plot,test"), "python -m pytest -n auto --dist=loadfile -m not slow -k law"]
    bootstrap.main(["lint"])
    assert machine.started() == ["python -m ruff check", "python -m ruff format --check"]


def test_status_of_the_program_is_passed_on(bootstrap, machine):
    machine.fails = lambda line: "ruff check" in line
    assert bootstrap.main(["lint"]) == 1
    assert machine.started()[-1] == "python -m ruff check"


def change_pyproject(bootstrap):
    (bootstrap.ROOT / "pyproject.toml").write_text(PYPROJECT + "# changed\n")


def change_python(bootstrap):
    bootstrap.PYTHON_HERE = "3.99"


def lose_python(bootstrap):
    bootstrap.PYTHON.unlink()
    bootstrap.PYTHON.symlink_to(bootstrap.ROOT / "python3 before the upgrade")


def cut_stamp(bootstrap):
    bootstrap.STAMP.write_text(bootstrap.STAMP.read_text()[:20])


@pytest.mark.parametrize("happening", [change_pyproject, change_python, lose_python, cut_stamp])
def test_environment_is_made_again_after(happening, bootstrap, machine):
    bootstrap.main(["demo"])
    happening(bootstrap)
    machine.started()
    bootstrap.main(["demo"])
    assert machine.started() == [f"{NEW} {bootstrap.VENV}", pip("fast,plot"), DEMO]


def test_moved_checkout_is_set_up_again(bootstrap, machine, monkeypatch, tmp_path):
    bootstrap.main(["demo"])
    (tmp_path / "moved").mkdir()
    shutil.copy(bootstrap.ROOT / "pyproject.toml", tmp_path / "moved")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "moved")
    machine.started()
    bootstrap.main(["demo"])
    assert len(machine.started()) == 3


@pytest.mark.parametrize("verbs", [["demo"], ["demo", "test"]])
def test_interrupted_installation_starts_anew(verbs, bootstrap, machine, monkeypatch):
    """Also when the interrupted one was to add an extra to a complete environment."""

    def interrupt(extras):
        raise KeyboardInterrupt

    for verb in verbs[:-1]:
        bootstrap.main([verb])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bootstrap, "install", interrupt)
        bootstrap.main(verbs[-1:])
    assert not bootstrap.STAMP.exists()
    machine.started()
    bootstrap.main(verbs[-1:])
    assert machine.started()[0] == f"{NEW} {bootstrap.VENV}"


def test_without_ensurepip_the_pip_of_the_machine_serves(bootstrap, machine):
    machine.fails = without_ensurepip
    assert bootstrap.main(["demo"]) == 0
    assert machine.started() == [
        f"{NEW} {bootstrap.VENV}",
        f"{NEW} {bootstrap.VENV} --without-pip",
        f"{sys.executable} -m pip --python python install pip",
        pip("fast,plot"),
        DEMO,
    ]


def test_without_ensurepip_and_pip_debians_wheel_serves(bootstrap, machine, tmp_path):
    bootstrap.DEBIAN_WHEELS = tmp_path
    wheel = tmp_path / "pip-23.0.1-py3-none-any.whl"
    wheel.touch()
    machine.fails = lambda line: without_ensurepip(line) or "--python" in line
    assert bootstrap.main(["demo"]) == 0
    assert machine.started()[2:] == [
        f"{sys.executable} -m pip --python python install pip",
        f"python {wheel}/pip install pip",
        pip("fast,plot"),
        DEMO,
    ]


def test_without_any_pip_one_line_names_the_package(bootstrap, machine, tmp_path):
    bootstrap.DEBIAN_WHEELS = tmp_path
    machine.fails = lambda line: without_ensurepip(line) or "--python" in line
    with pytest.raises(SystemExit) as failure:
        bootstrap.main(["demo"])
    assert failure.value.code == (
        "gpumask: cannot make .venv with pip (reason): sudo apt install python3-venv, try again"
    )
    assert not bootstrap.STAMP.exists()


def test_going_on_without_numba_is_said_each_time(bootstrap, machine, capsys):
    machine.fails = lambda line: ".[fast" in line
    for commands in ([f"{NEW} {bootstrap.VENV}", pip("fast,plot"), pip("plot"), DEMO], [DEMO]):
        assert bootstrap.main(["demo"]) == 0
        assert machine.started() == commands
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"gpumask: Python {bootstrap.PYTHON_HERE} cannot install 'fast': "
            "numpy does the work of numba, slower (make clean, to try again)"
        )


def test_failing_installation_ends_in_one_line(bootstrap, machine, capsys):
    machine.fails = lambda line: "pip install" in line
    with pytest.raises(SystemExit, match=r"^gpumask: pip cannot install \.\[plot\], .* check the network"):
        bootstrap.main(["demo"])
    assert capsys.readouterr().err.endswith("output\nreason\n")
    assert not bootstrap.STAMP.exists()


@pytest.mark.parametrize(
    ("driver", "declared", "chosen"),
    [
        (0, ["cuda12", "cuda13"], []),
        (11080, ["cuda12", "cuda13"], []),
        (12040, ["fast", "cuda12", "cuda13"], ["cuda12"]),
        (13000, ["cuda13", "cuda12"], ["cuda13"]),
        (14010, ["cuda12", "cuda13"], ["cuda13"]),
        (13000, ["cuda12", "cuda13-ctk"], ["cuda12"]),
        (13000, ["fast", "plot"], []),
    ],
)
def test_cuda_extra_follows_the_driver(bootstrap, driver, declared, chosen):
    assert bootstrap.cuda_extra(driver, declared) == chosen


def test_driver_decides_what_is_installed(bootstrap, machine):
    bootstrap.driver_version = lambda: 12080
    (bootstrap.ROOT / "pyproject.toml").write_text(PYPROJECT.replace("plot =", "cuda12 = []\nplot ="))
    bootstrap.main(["demo"])
    assert machine.started()[1] == pip("fast,plot,cuda12")


def test_declared_extras_are_those_of_pyproject(bootstrap):
    text = (ROOT / "pyproject.toml").read_text()
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    declared = tomllib.loads(text)["project"]["optional-dependencies"]
    assert bootstrap.declared_extras(text) == list(declared)
    assert {name for extras, _ in bootstrap.TASKS.values() for name in extras} <= set(declared)
    assert bootstrap.declared_extras("[project]\nname = 'x'\n") == []


def test_oldest_python_is_that_of_pyproject(bootstrap):
    oldest = ".".join(map(str, bootstrap.MINIMUM_PYTHON))
    assert f'requires-python = ">={oldest}"' in (ROOT / "pyproject.toml").read_text()


def test_older_python_gets_one_line(checkout):
    pretend = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path('bootstrap.py')"
    result = subprocess.run([sys.executable, "-c", pretend], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "gpumask needs Python >= 3.10, this is 3.9: name another, make demo PYTHON=python3.11\n"


def test_needs_the_standard_library_only():
    tree = ast.parse((ROOT / "bootstrap.py").read_text(), feature_version=(3, 7))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        name.split(".")[0]
        for node in imports
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert names <= sys.stdlib_module_names


def test_packages_of_other_software_are_kept_out(bootstrap, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/other")
    worked, output = bootstrap.attempt([sys.executable, "-c", "import os; print(os.getenv('PYTHONPATH'))"])
    assert (worked, output) == (True, "None")


@pytest.mark.parametrize("arguments", [[], ["tests"]])
def test_unknown_verb_gets_one_line(bootstrap, machine, arguments):
    with pytest.raises(SystemExit, match=r"takes one of demo, test, lint, bench, gpu-check, got (nothing|tests)$"):
        bootstrap.main(arguments)
    assert machine.started() == []


HIDE_ENSUREPIP = """
attempt = bootstrap.attempt
def without_ensurepip(command):
    hidden = "venv" in command and "--without-pip" not in command
    return (False, "") if hidden else attempt(command)
bootstrap.attempt = without_ensurepip
"""


@pytest.mark.slow
@pytest.mark.skipif(not DEBIAN_PYTHON.exists(), reason=f"no {DEBIAN_PYTHON}")
@pytest.mark.parametrize("hide", ["", HIDE_ENSUREPIP], ids=["ensurepip", "no ensurepip"])
def test_real_set_up(checkout, hide):
    """With the system's Python, which Debian manages externally (PEP 668); needs the network."""
    start = f"import sys, bootstrap\n{hide}\nsys.exit(bootstrap.main(['demo', '--size', '3']))"
    outputs = [
        subprocess.run([DEBIAN_PYTHON, "-c", start], cwd=checkout, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [output.stdout for output in outputs] == ["['demo', '-o', 'demo', '--force', '--size', '3']\n"] * 2
    assert "setting up .venv" in outputs[0].stderr
    assert outputs[1].stderr == ""
    assert json.loads((checkout / ".venv" / "gpumask.json").read_text())["extras"] == ["fast", "plot"]


def test_without_the_toolkit_the_extra_that_brings_the_compiler_is_chosen(bootstrap, monkeypatch):
    declared = ["cuda12", "cuda12-ctk", "cuda13", "cuda13-ctk"]
    for there, chosen in ((True, ["cuda12"]), (False, ["cuda12-ctk"])):
        monkeypatch.setattr(bootstrap, "has_nvrtc", lambda major, there=there: there)
        assert bootstrap.cuda_extra(12080, declared) == chosen
