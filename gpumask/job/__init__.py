"""Files in, files out: the one path that the command line and every integration share.

==================== ============================================
``creation``         :func:`create`, :func:`read_recipe`
``core_soft``        masks of glycoproteins, :class:`Leaks`
``combination``      :func:`combine`, :class:`Combination`
``inspection``       :func:`inspect`
``spectra``          :func:`spectrum`, :func:`shell_at`
``resolution``       :func:`fsc`
``resolution_files`` the files that it writes
``sharpening``       :func:`sharpen`
``sweeping``         :func:`sweep`
``advising``         :func:`advise`
``shapes``           :func:`shape`, :func:`read_shape`
``micelle``          a low-passed outside, :class:`Micelle`
``models``           :func:`model`, :func:`read_model`, :func:`list_model`
``filtering``        :func:`filter`
``grids``            :func:`resample`, :func:`grid`, :func:`compare`
``positions``        :func:`fulcrum`
``segmentation``     :func:`segment`, :func:`regions`
``inputs``           half maps found by name, masks, one grid
``outputs``          names of outputs, what is not written over
``timing``           seconds a step
``devices``          work on a device, else on the CPU
==================== ============================================
"""

import importlib

_HOME = {
    "advise": "advising",
    "Combination": "combination",
    "combine": "combination",
    "compare": "grids",
    "create": "creation",
    "filter": "filtering",
    "fsc": "resolution",
    "fulcrum": "positions",
    "grid": "grids",
    "inspect": "inspection",
    "Leaks": "core_soft",
    "list_model": "models",
    "Micelle": "micelle",
    "model": "models",
    "read_model": "models",
    "read_recipe": "creation",
    "read_shape": "shapes",
    "regions": "segmentation",
    "resample": "grids",
    "segment": "segmentation",
    "shape": "shapes",
    "sharpen": "sharpening",
    "shell_at": "spectra",
    "spectrum": "spectra",
    "sweep": "sweeping",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"gpumask.job.{_HOME[name]}"), name)
    if name in _HOME.values():
        return importlib.import_module(f"gpumask.job.{name}")
    raise AttributeError(f"module 'gpumask.job' has no attribute {name!r}")
