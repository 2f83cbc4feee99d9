"""Bodies of the operations on numpy arrays. Trusted: the public functions have checked their arguments."""

from gpumask._cpu.at_least import at_least
from gpumask._cpu.bounding_box import bounding_box
from gpumask._cpu.component_count import component_count
from gpumask._cpu.distance import distance
from gpumask._cpu.edge_sums import edge_sums
from gpumask._cpu.shell_sums import shell_power, shell_products, shell_sums
from gpumask._cpu.soft_mask import soft_mask
from gpumask._cpu.statistics import statistics, survey
from gpumask._cpu.watershed import watershed

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
