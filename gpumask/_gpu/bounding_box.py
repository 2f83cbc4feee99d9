"""The smallest box that holds every True voxel."""

from gpumask._cpu.bounding_box import bounding_box

__all__ = ["bounding_box"]
