"""Bodies of the operations on CuPy arrays: launches of our kernels. Trusted, and mirrors of ``_cpu``."""

from gpumask._gpu.distance import distance
from gpumask._gpu.soft_mask import soft_mask
from gpumask._gpu.statistics import statistics

__all__ = ["distance", "soft_mask", "statistics"]
