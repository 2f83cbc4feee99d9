"""Files in, files out: the one path that the command line and every integration share.

==================== ============================================
``creation``         :func:`create`, :func:`read_recipe`
``inspection``       :func:`inspect`
``spectra``          :func:`spectrum`, :func:`shell_at`
``resolution``       :func:`fsc`
``resolution_files`` the files that it writes
``sharpening``       :func:`sharpen`
``inputs``           half maps found by name, masks, one grid
``outputs``          names of outputs, what is not written over
``timing``           seconds a step
``devices``          work on a device, else on the CPU
==================== ============================================
"""

from gpumask.job.creation import create, read_recipe
from gpumask.job.inspection import inspect
from gpumask.job.resolution import fsc
from gpumask.job.sharpening import sharpen
from gpumask.job.spectra import shell_at, spectrum

__all__ = ["create", "fsc", "inspect", "read_recipe", "shell_at", "sharpen", "spectrum"]
