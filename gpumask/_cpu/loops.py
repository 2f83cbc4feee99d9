"""The loops that numba compiles, where it is installed."""


def compiled():
    """The module of compiled loops, or None where numba is not installed and numpy does their work."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return None
    from gpumask._cpu import _compiled

    return _compiled
