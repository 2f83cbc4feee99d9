"""``Σm(1 - m)`` and ``Σ|∇m|`` of each plane first <= z < last; central differences over the voxel `edges`, float64."""

from gpumask._cpu.edge_sums import plane_by_plane


def edge_sums(planes, edges, first, last):
    return plane_by_plane(planes, edges, first, last)
