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

from gpumask.job.advising import advise
from gpumask.job.combination import Combination, combine
from gpumask.job.core_soft import Leaks
from gpumask.job.creation import create, read_recipe
from gpumask.job.filtering import filter
from gpumask.job.grids import compare, grid, resample
from gpumask.job.inspection import inspect
from gpumask.job.micelle import Micelle
from gpumask.job.models import list_model, model, read_model
from gpumask.job.positions import fulcrum
from gpumask.job.resolution import fsc
from gpumask.job.segmentation import regions, segment
from gpumask.job.shapes import read_shape, shape
from gpumask.job.sharpening import sharpen
from gpumask.job.spectra import shell_at, spectrum
from gpumask.job.sweeping import sweep

__all__ = [
    "Combination",
    "Leaks",
    "advise",
    "Micelle",
    "combine",
    "compare",
    "create",
    "filter",
    "fsc",
    "fulcrum",
    "grid",
    "inspect",
    "list_model",
    "model",
    "read_model",
    "read_recipe",
    "read_shape",
    "regions",
    "resample",
    "segment",
    "shape",
    "sharpen",
    "shell_at",
    "spectrum",
    "sweep",
]
