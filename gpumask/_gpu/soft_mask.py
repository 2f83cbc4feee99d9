"""A soft mask in one go: bounded squared distance, then the edge read from a table."""

from gpumask._gpu.distance import from_bits
from gpumask._gpu.threshold import pack


def soft_mask(foreground, costs, cap, table):
    return from_bits(pack(foreground), costs, cap, table)
