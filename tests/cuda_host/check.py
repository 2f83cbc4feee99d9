"""Runs small launches of every kernel under a sanitizer, or a planted fault: ``python check.py BUILD [FAULT]``.

To be started with the sanitizer's library preloaded (tests/test_kernels.py does).
"""

import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import oracles  # noqa: E402

from cuda_host import Host, installed, library  # noqa: E402
from gpumask import _gpu, fourier  # noqa: E402
from gpumask._gpu.threshold import threshold  # noqa: E402

FAULTS = {  # -> BARRIER, PAST, bytes of shared memory
    "none": (1, 0, 256),
    "barrier": (0, 0, 256),
    "store": (1, 1, 256),
    "shared": (1, 0, 128),
}


def squares(reach, dtype):
    return (np.arange(reach + 1) ** 2).astype(dtype)


def sum_shells(shape, dtypes):
    """Two arrays and one, and the transposed layout."""
    random = np.random.default_rng(2)
    shells = fourier.shells(shape, 1)
    rest = (shells.squares, shells.weights, shells.count)
    half = (*shape[:2], shape[2] // 2 + 1)
    for dtype in dtypes:
        a, b = (random.standard_normal(half).astype(dtype) for _ in range(2))
        _gpu.shell_sums(a, b, *rest)
        _gpu.shell_sums(a, a, *rest)
    _gpu.shell_power(random.standard_normal(shape).astype(np.float32), shape, *rest)


def find_regions(shape):
    """Maps of few values: plateaus that many threads join at once, some of which lead on."""
    for values in (2, 3, 6):
        array = np.random.default_rng(values).integers(0, values, shape).astype(np.float32)
        labels, _ = _gpu.watershed(array, array > 0, True)
        assert np.array_equal(labels, oracles.watershed(array, 1, True))


def run_all():
    """Each kernel of each file: odd shapes, both windows, every tap."""
    random = np.random.default_rng(1)
    for shape in ((3, 5, 70), (34, 67, 3), (9, 1, 1)):
        foreground = random.random(shape) < 0.05
        for reach in (0, 7, 33):
            cap = reach * reach + 1
            table = np.linspace(1, 0, cap + 1, dtype=np.float32)
            costs = [squares(reach, np.uint16)] * 3
            for tap in (0, 1, 2):
                with installed(Host("address", {"TAP": tap})):
                    _gpu.soft_mask(foreground, costs, np.uint16(cap), table)
        with installed(Host("address")):
            _gpu.distance(foreground, [squares(70, np.uint16)] * 3, np.uint16(4901))
            _gpu.distance(foreground, [squares(9, np.float64) * s for s in (1, 1.3, 2)], np.float64(82))
            threshold(random.standard_normal(shape).astype(np.float32), 0.5)
            _gpu.statistics(random.standard_normal(shape).astype(np.float32))
            sum_shells(shape, (np.complex64, np.complex128))
            find_regions(shape)
    sys.modules["gpumask._gpu.watershed"].WIDE = 0
    with installed(Host("address")):
        find_regions((9, 10, 11))


def run_few():
    """What threads share: tiles, votes, shells and plateaus. Two planes, so that one follows the other."""
    foreground = np.zeros((2, 3, 70), bool)
    foreground[0, 1, ::9] = True
    with installed(Host("thread")):
        _gpu.soft_mask(foreground, [squares(7, np.uint16)] * 3, np.uint16(50), np.zeros(51, np.float32))
        sum_shells((1, 19, 6), (np.complex64,))
        find_regions((5, 7, 13))


def run_planted(build, fault):
    barrier, past, shared = FAULTS[fault]
    source = Path(__file__).with_name("planted.cu").read_text()
    code = library(source, (f"-DBARRIER={barrier}", f"-DPAST={past}"), build)
    values, out = np.ones(64, np.float32), np.zeros(64, np.float32)
    Host(build).launch(code, "reverse", (1,), (64,), (values, out), shared_mem=shared)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        run_planted(*sys.argv[1:])
    else:
        {"address": run_all, "thread": run_few}[sys.argv[1]]()
