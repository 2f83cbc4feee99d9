"""Watershed of a particle, smooth and with detail, against scikit-image and a labelling; arrays in memory, warm."""

import numpy as np
from scipy import ndimage

from gpumask import watershed

from . import Case, Table
from .create import LEVEL, THREADS, _has, particle, without_numba

DETAIL_SIGMA, DETAIL = 2.0, 0.7  # px and standard deviation of what is added to the smooth particle
LOW = -1.5  # a level at which it fills much of its sphere
ALL = np.ones((3, 3, 3), bool)
ROUNDS = 7


def tables(box):
    box = box or 256
    smooth = particle(box)
    detailed = smooth + detail(box)
    yield regions(smooth, LEVEL, f"{box}³, smooth")
    yield regions(detailed, LEVEL, f"{box}³, with detail")
    yield regions(detailed, LOW, f"{box}³, with detail, low level")
    yield facts(detailed, LEVEL, f"{box}³, with detail")


def detail(box):
    noise = ndimage.gaussian_filter(np.random.default_rng(2).standard_normal((box,) * 3, np.float32), DETAIL_SIGMA)
    return noise * np.float32(DETAIL / noise.std())


def regions(volume, level, title):
    """Regions of steepest ascent, which are those of flooding as long as no two neighbours are equal."""
    ours = watershed.label(volume, level)
    base = ours > 0
    runs = {
        "gpumask, numba": (lambda: watershed.label(volume, level), ROUNDS),
        "gpumask, numpy": (lambda: without_numba_label(volume, level), 5),
    }
    if _has("skimage"):
        peaks = maxima(volume, level)
        markers = np.zeros_like(ours)
        markers[peaks] = ours[peaks]
        runs["scikit-image, watershed alone, markers given"] = (lambda: flooded(volume, markers, base), 5)
        runs["scikit-image, maxima + watershed"] = (lambda: scikit_image(volume, level, ours), 3)
    cases = [Case(name, run, differing(run(), ours), rounds) for name, (run, rounds) in runs.items()]
    cases.append(Case("scipy.ndimage.label, 26 neighbours", lambda: ndimage.label(volume >= level, ALL), None, 5))
    note = (
        f"{ours.max()} regions, {100 * base.mean():.0f} % of the box is foreground. max |Δ| is the share of the "
        "foreground that is in another region than ours."
    )
    return Table(f"Watershed: {title}, {THREADS} threads", cases, cases[0].name, note=note)


def facts(volume, level, title):
    """What comes after the labels: size, sum, peak, place, contacts, groups."""
    labels = watershed.label(volume, level)
    runs = {
        "leaves": lambda: watershed.leaves(labels, volume),
        "contacts": lambda: watershed.contacts(labels),
        "group, 4 steps of 1": lambda: watershed.group(volume, labels),
    }
    for run in runs.values():
        run()
    cases = [Case(name, run, None, 3) for name, run in runs.items()]
    return Table(f"Facts of {labels.max()} regions: {title}", cases, cases[0].name)


def without_numba_label(volume, level):
    with without_numba():
        return watershed.label(volume, level)


def maxima(volume, level):
    """Voxels that none of 26 neighbours reaches or exceeds, as three index arrays."""
    from skimage.feature import peak_local_max

    return tuple(peak_local_max(volume, footprint=ALL, threshold_abs=np.nextafter(np.float32(level), -np.inf),
                                exclude_border=False).T)  # fmt: skip


def flooded(volume, markers, base):
    from skimage.segmentation import watershed as flood

    return flood(-volume, markers, connectivity=ALL, mask=base)


def scikit_image(volume, level, ours):
    """From the map alone; the maxima have our numbers so that regions can be compared."""
    peaks, markers = maxima(volume, level), np.zeros_like(ours)
    markers[peaks] = ours[peaks]
    return flooded(volume, markers, volume >= level)


def differing(labels, ours):
    """Share of the foreground that has another number."""
    return float((labels != ours).sum() / (ours > 0).sum())
