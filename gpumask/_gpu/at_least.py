"""Which values reach a level."""

import numpy as np

from gpumask import cuda
from gpumask._cpu import at_least as generic
from gpumask._gpu.threshold import THREADS, comparison


def at_least(array, level, absolute):
    """float32 goes through our kernel: CuPy compiles comparisons with -ftz=true, which takes subnormals for 0."""
    cupy = cuda.cupy()
    if array.dtype != np.float32 or np.isnan(level) or not array.size:
        return generic(array, level, absolute)
    array = cupy.ascontiguousarray(array)
    out = cupy.empty(array.shape, bool)
    kernel = cuda.kernel("at_least", "float32", "at_least")
    arguments = (array, out, np.int64(array.size), *comparison(level, absolute))
    kernel((-(-array.size // THREADS),), (THREADS,), arguments)
    return out
