"""min, max, mean, standard deviation in float64, in one fixed order of addition."""

import math

import numpy as np

from gpumask import cuda
from gpumask._cpu.statistics import PIECE

COLUMNS = cuda.VARIANTS["statistics"]["float32"]["COLUMNS"]
THREADS = 128


def survey(array):
    cupy = cuda.cupy()
    values = cupy.ascontiguousarray(array).reshape(-1)
    bits = values.view(f"u{values.itemsize}")
    whole = bits.size // PIECE * PIECE
    filled = np.empty(-(-bits.size // PIECE), bool)
    filled[: whole // PIECE] = cupy.asnumpy(bits[:whole].reshape(-1, PIECE).any(axis=1))
    filled[whole // PIECE :] = cupy.asnumpy(bits[whole:].any())
    return statistics(array), filled


def statistics(array):
    cupy = cuda.cupy()
    if array.dtype.name not in cuda.VARIANTS["statistics"]:
        array = array.astype(np.float64)
    flat = cupy.ascontiguousarray(array).reshape(-1)
    count = flat.size
    if count == 0:
        raise ValueError("statistics of an array without voxels")
    columns = min(COLUMNS, count)
    partial = cupy.empty(columns, np.float64)
    low, high = cupy.empty((2, columns), flat.dtype)

    def launch(function, *arguments):
        kernel = cuda.kernel("statistics", flat.dtype.name, function)
        kernel((-(-columns // THREADS),), (THREADS,), (flat, np.int64(count), *arguments))
        return math.fsum(partial.tolist())

    mean = launch("sums", partial, low, high) / count
    variance = launch("deviations", np.float64(mean), partial) / count
    least, greatest = float(low.min()), float(high.max())
    if math.isnan(least) or math.isnan(greatest):  # each kernel's order has NaN at its ends only
        least = greatest = math.nan
    return least, greatest, mean, math.sqrt(variance)
