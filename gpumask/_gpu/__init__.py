"""Bodies of the operations on CuPy arrays: launches of our kernels. Trusted, and mirrors of ``_cpu``."""

from gpumask._gpu.at_least import at_least
from gpumask._gpu.bounding_box import bounding_box
from gpumask._gpu.component_count import component_count
from gpumask._gpu.distance import distance
from gpumask._gpu.edge_sums import edge_sums
from gpumask._gpu.shell_sums import shell_power, shell_products, shell_sums
from gpumask._gpu.soft_mask import soft_mask
from gpumask._gpu.statistics import statistics, survey
from gpumask._gpu.watershed import watershed

__all__ = [
    "at_least",
    "bounding_box",
    "component_count",
    "distance",
    "edge_sums",
    "shell_power",
    "shell_products",
    "shell_sums",
    "soft_mask",
    "statistics",
    "survey",
    "watershed",
]
