"""The errors gpumask raises. Each is also the builtin a caller would catch, and knows its exit code."""


class GpumaskError(Exception):
    """Base of every error that gpumask raises on purpose; its text is one line for the user."""

    exit_code = 1


class UsageError(GpumaskError, ValueError):
    """A parameter that cannot be used: an unknown unit, a negative width, two options that exclude each other."""

    exit_code = 2


class InputRefused(GpumaskError, ValueError):
    """A file or an array that must not be used as it is; the text says what was found and what to do."""

    exit_code = 3


class InputNotFound(InputRefused, FileNotFoundError):
    """An input file that is not there or cannot be opened."""


class OutputExists(InputRefused, FileExistsError):
    """An output that is already there, without leave to overwrite it."""


class DeviceNotFound(GpumaskError, RuntimeError):
    """The demanded device is not there, or this build cannot use it."""

    exit_code = 4


class WriteFailed(GpumaskError, OSError):
    """The output could not be written; nothing was left behind and an older file is untouched."""

    exit_code = 5


class OutOfMemory(GpumaskError, MemoryError):
    """The work needs more memory than there is."""

    exit_code = 5


class MissingExtra(GpumaskError, ImportError):
    """An optional package is needed for what was asked; the text names the extra that brings it."""

    exit_code = 2


class GpumaskWarning(UserWarning):
    """Something the user should know about a result that is still correct."""
