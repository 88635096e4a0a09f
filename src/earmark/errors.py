"""One family of errors: each says what came, what was expected, and what to do.

The command line prints the sentence and exits with `exit_code`; a traceback is for `--debug` alone.
"""


class EarmarkError(Exception):
    """Is the base of everything that earmark raises on purpose."""

    exit_code = 1


class InputError(EarmarkError, ValueError):
    """Says that what the user gave is at fault (exit code 2)."""

    exit_code = 2


class AudioError(InputError):
    """Says that a sound cannot be read or used: missing, empty, not audio, too long, not finite."""


class OutputError(InputError):
    """Says that a result cannot be written: the disk is full, or the place may not be written to."""


class DataError(InputError):
    """Says that a data set's folder or table cannot be used as asked."""


class ModelError(InputError):
    """Says that a classifier, or a part of it, does not do what its description promises."""


class TrainingError(InputError):
    """Says that a training cannot begin or go on."""


class TargetError(InputError):
    """Says that a label or score function does not exist for this classifier or explainer."""


class MismatchError(InputError):
    """Says that two things were made for different classifiers, grids or versions."""
