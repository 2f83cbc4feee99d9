"""gpumask: soft masks for cryo-EM maps, exact and fast."""

import importlib

__version__ = "0.1.0"

_HOME = {
    "Volume": "volume",
    "Header": "volume",
    "MaskRecipe": "recipe",
    "read": "io",
    "write": "io",
    "create_mask": "pipeline",
    "mask_spectrum": "spectrum",
    "MaskSpectrum": "spectrum",
    "batch": "batching",
    "fsc": "resolution",
    "FSC": "resolution",
    "sharpen": "sharpening",
    "sweep": "sweeps",
    "Sweep": "sweeps",
    "edge_spectra": "edges",
    "EdgeSpectra": "edges",
    "advise": "advisor",
    "Advice": "advisor",
    "segment": "segmentation",
    "Segmentation": "segmentation",
    "GpumaskError": "errors",
    "GpumaskWarning": "errors",
}
_MODULES = (
    "advisor",
    "algebra",
    "choices",
    "correlation",
    "coverage",
    "directional",
    "edges",
    "emdb",
    "errors",
    "filters",
    "fourier",
    "grids",
    "interpolation",
    "io",
    "local_resolution",
    "mask",
    "model_fit",
    "models",
    "morphology",
    "phases",
    "positions",
    "recipe",
    "region_file",
    "region_tree",
    "regions",
    "segger",
    "segmentation",
    "shapes",
    "sharpening",
    "simulation",
    "star",
    "sweeps",
    "symmetry",
    "thresholds",
    "units",
    "watershed",
)

__all__ = [*_HOME, *_MODULES]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(f"gpumask.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"gpumask.{name}")
    raise AttributeError(f"module 'gpumask' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
