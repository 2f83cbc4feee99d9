"""What an installation of gpumask holds and promises; ``.ci/run`` compares the wheel with the checkout."""

import importlib.util
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(importlib.util.find_spec("gpumask").submodule_search_locations[0])


def test_version_is_that_of_pyproject():
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("pyproject.toml is not beside tests/")
    version = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text()).group(1)
    assert metadata.version("gpumask") == version


def test_needs_three_packages_and_no_upper_pins():
    requirements = [line for line in metadata.requires("gpumask") if "extra ==" not in line]
    assert {re.match(r"[\w-]+", line).group() for line in requirements} == {"numpy", "scipy", "mrcfile"}
    assert not [line for line in requirements if "<" in line or "==" in line]


def test_command_is_installed():
    (command,) = metadata.entry_points(group="console_scripts", name="gpumask")
    assert callable(command.load())


def test_kernels_are_installed():
    """A checkout that lost the symlink gpumask/kernels -> ../kernels is installed without a word."""
    sources = {path.name: path.read_bytes() for path in (ROOT / "kernels").glob("*.cu*")}
    if not sources:
        pytest.skip("no kernels/ beside tests/")
    assert {path.name: path.read_bytes() for path in (PACKAGE / "kernels").glob("*.cu*")} == sources
