"""Components and holes of a base, one clean and one with specks and cavities; arrays in memory, warm."""

import numpy as np
from scipy import ndimage

from gpumask import regions

from . import Case, Table
from .create import LEVEL, particle, without_numba

SPECK_SIGMA, SPECK_LEVEL = 1.5, 2.5  # px of smoothing, standard deviations
ROUNDS = 7


def tables(box):
    box = box or 256
    clean = particle(box) >= LEVEL
    for name, base in (("one clean component", clean), ("specks outside, cavities inside", clean ^ specks(box))):
        share = f"{100 * base.mean():.0f} % of the box is foreground"
        yield components(base, f"{box}³, {name}", share)
        yield holes(base, f"{box}³, {name}", share)


def specks(box):
    """Small blobs all over the box: what noise leaves above a threshold."""
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((box,) * 3, np.float32), SPECK_SIGMA)
    return noise > SPECK_LEVEL * noise.std()


def components(base, title, share):
    """Numbered voxels and sizes; the count alone."""
    reference, sizes = scipy_label(base)
    runs = {
        "gpumask, label": (regions.label, reference),
        "scipy.ndimage.label + bincount": (scipy_label, reference),
        "gpumask, component_count, numba": (regions.component_count, len(sizes)),
        "gpumask, component_count, numpy": (counted_without_numba, len(sizes)),
    }
    if _has_cc3d():
        runs["cc3d + bincount"] = (cc3d_label, reference)
        runs["cc3d, count"] = (lambda foreground: int(cc3d_label(foreground)[0].max()), len(sizes))
    note = f"{len(sizes)} components, {share}. max |Δ| is against scipy, label by label or the count."
    return table(f"26-connected components: {title}", base, runs, "gpumask, label", note)


def holes(base, title, share):
    """Background that no 6-connected path joins to a face of the box, filled."""
    reference = ndimage.binary_fill_holes(base)
    runs = {
        "gpumask, fill_holes": (regions.fill_holes, reference),
        "scipy.ndimage.binary_fill_holes": (ndimage.binary_fill_holes, reference),
    }
    if _has_cc3d():
        runs["cc3d, background not on a face"] = (cc3d_filled, reference)
    filled = int(reference.sum()) - int(base.sum())
    return table(f"Holes: {title}", base, runs, "gpumask, fill_holes", f"{filled} voxels are filled, {share}.")


def table(title, base, runs, first, note):
    cases = []
    for name, (function, reference) in runs.items():
        made = function(base)  # also the warm-up
        made = made[0] if isinstance(made, tuple) else made
        error = float(np.abs(np.subtract(made, reference, dtype=np.int64)).max())
        cases.append(Case(name, lambda f=function: f(base), error, ROUNDS))
    return Table(title, cases, first, note=note)


def scipy_label(foreground):
    labels, count = ndimage.label(foreground, np.ones((3, 3, 3), bool))
    return labels, np.bincount(labels.reshape(-1), minlength=count + 1)[1:]


def counted_without_numba(foreground):
    with without_numba():
        return regions.component_count(foreground)


def cc3d_label(foreground):
    import cc3d

    labels = cc3d.connected_components(foreground, connectivity=26, binary_image=True)
    return labels, np.bincount(labels.reshape(-1))[1:]


def cc3d_filled(foreground):
    import cc3d

    labels = cc3d.connected_components(~foreground, connectivity=6, binary_image=True)
    outside = np.zeros(int(labels.max()) + 1, bool)
    for axis in range(3):
        for face in (0, -1):
            outside[labels.take(face, axis)] = True
    outside[0] = False
    return ~outside[labels]


def _has_cc3d():
    try:
        import cc3d  # noqa: F401
    except ImportError:
        return False
    return True
