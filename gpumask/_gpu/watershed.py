"""Regions of steepest ascent, plateaus merged or not: the regions and numbers of the CPU."""

import numpy as np

from gpumask import cuda

THREADS = 256  # as in watershed.cu
WIDE = 2**31  # voxels from which indices take 64 bits


def watershed(array, foreground, merged):
    cupy = cuda.cupy()
    launch, index = _launcher(array)
    parent, first = maxima(array, foreground, merged)
    starts = cupy.zeros(array.size, bool)
    launch("mark", parent, first, starts, index(array.size))
    numbers = cupy.cumsum(starts, dtype=np.int32)
    labels = cupy.empty(array.shape, np.int32)
    launch("number", parent, first, numbers, labels, index(array.size))
    return labels, int(numbers[-1])


def maxima(array, foreground, merged):
    """Of each voxel the one at which it ends, -1 in the background; of each of those the first that ends there."""
    cupy = cuda.cupy()
    launch, index = _launcher(array)
    parent, first = cupy.empty(array.size, index), cupy.empty(array.size, index)
    tied = cupy.zeros(1, np.int32)
    count, shape = index(array.size), tuple(map(np.int32, array.shape))
    launch("climb", array, foreground, parent, first, tied, count, *shape)
    if merged and int(tied[0]):
        launch("join", array, parent, count, *shape)
        launch("flatten", array, parent, count)
        launch("leave", array, parent, count, *shape)
    launch("collapse", parent, first, count)
    return parent, first


def _launcher(array):
    """``launch(function, *arguments)`` with a thread for each voxel, and the type of its indices."""
    index = np.int32 if array.size < WIDE else np.int64
    grid = (-(-array.size // THREADS),)

    def launch(function, *arguments):
        cuda.kernel("watershed", np.dtype(index).name, function)(grid, (THREADS,), arguments)

    return launch, index
