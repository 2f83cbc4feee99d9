"""Every kernel, with the macros it is shipped with, compiles for every architecture within its registers."""

import nvrtc
import pytest

from gpumask import cuda

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason=f"{nvrtc.WHEEL} is not installed")

ARCHITECTURES = [75, 80, 86, 89, 90, 100, 120]
# Registers a thread. 64 let 1024 threads be resident on every architecture, 80 let 768 (3 blocks of distance_x).
BUDGET = {
    "at_least": 32,
    "threshold": 80,
    "distance": 80,
    "distance_general": 32,
    "statistics": 64,
    "shell_sums": 64,
    "watershed": 64,
}
ALL = [(name, variant) for name, variants in cuda.VARIANTS.items() for variant in variants]


def check(name, usage):
    assert usage
    for kernel, used in usage.items():
        assert used.spilled == used.stack == 0, f"{kernel} spills {used.spilled} B, stack {used.stack} B"
        assert used.registers <= BUDGET[name], f"{kernel} uses {used.registers} registers"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "variant"), ALL)
def test_compiles(name, variant, architecture):
    check(name, nvrtc.compile_for(architecture, *cuda.program(name, cuda.VARIANTS[name][variant])))


@pytest.mark.parametrize(("tap", "architecture"), [(0, 80), (0, 90), (1, 90), (1, 120), (2, 89)])
def test_every_tap_compiles_where_it_may_be_chosen(tap, architecture):
    macros = {**cuda.VARIANTS["distance"]["window64-table"], "TAP": tap}
    usage = nvrtc.compile_for(architecture, *cuda.program("distance", macros))
    assert all(used.spilled == 0 for used in usage.values())


def test_a_planted_spill_is_found():
    source, options = cuda.program("distance", cuda.VARIANTS["distance"]["window32-table"])
    crowded = source.replace("__launch_bounds__(X_THREADS, 3)", "__launch_bounds__(X_THREADS, 8)")  # 32 registers
    usage = nvrtc.compile_for(90, crowded, options)
    with pytest.raises(AssertionError, match="spills"):
        check("distance", usage)


def test_an_error_names_the_file_and_the_line():
    source, options = cuda.program("distance", cuda.VARIANTS["distance"]["window32-table"])
    with pytest.raises(RuntimeError, match=r"packed\.cuh\(\d+\): error.*planted"):
        nvrtc.compile_for(90, source.replace("typedef unsigned int Pair;", "planted Pair;"), options)
