"""Fixtures: the array module, real data where it is there, numba on and off."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(params=["numpy", pytest.param("cupy", marks=pytest.mark.gpu)])
def xp(request):
    """numpy always; cupy where there is a GPU."""
    if request.param == "numpy":
        return np
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    return cupy


@pytest.fixture(scope="session", autouse=True)
def no_pool():
    """With GPUMASK_NO_POOL each CuPy array is an allocation of its own, so that memcheck sees stores past its end."""
    if os.environ.get("GPUMASK_NO_POOL"):
        import cupy

        cupy.cuda.set_allocator(None)


@pytest.fixture(params=["numba", "numpy"])
def loops(request, monkeypatch):
    """Run with the compiled loops, and with the numpy ones."""
    if request.param == "numba":
        pytest.importorskip("numba", reason="the extra `fast` is not installed")
    else:
        monkeypatch.setitem(sys.modules, "numba", None)
    return request.param


@pytest.fixture(scope="session")
def data():
    """The folder of real maps and reference outputs."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GPUMASK_DATA", default))
    if not folder.is_dir():
        pytest.skip("the real maps are not here; GPUMASK_DATA names their folder")
    return folder
