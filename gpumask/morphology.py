"""Opening and closing of binary masks by exact distance. numpy or CuPy in, the same kind out."""

from gpumask import mask


def opening(foreground, radius_px, sampling=None):
    """Erode, then dilate by `radius_px`: what a ball of that radius can reach from within.

    Idempotent, never adds a voxel; cuts bridges and drops specks thinner than the ball. Outside the box is neither
    foreground nor background, as for :func:`gpumask.mask.erode`.
    """
    return mask.dilate(mask.erode(foreground, radius_px, sampling), radius_px, sampling)


def closing(foreground, radius_px, sampling=None):
    """Dilate, then erode by `radius_px`: the complement of the opened complement.

    Idempotent, never drops a voxel; closes gaps and clefts that the ball does not fit into.
    """
    return mask.erode(mask.dilate(foreground, radius_px, sampling), radius_px, sampling)
