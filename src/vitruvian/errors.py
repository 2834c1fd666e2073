"""Every error a user can meet, with the exit code it ends a command with.

A message reads: what was got, what was expected, what to do next. Codes are part of the command line's contract:
0 ok, 1 internal error, 2 usage, 3 some inputs failed, 4 does not fit, 5 refused, 6 a check failed, 130 interrupted.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_INTERNAL = 1


class VitruvianError(Exception):
    """Base of all errors that are explained to the user instead of shown as a traceback."""

    exit_code = EXIT_INTERNAL


class UsageError(VitruvianError):
    """The command, an option or an output folder is not usable as given."""

    exit_code = 2


class InputError(VitruvianError):
    """One input cannot be used; the others go on."""

    exit_code = 3


class DoesNotFitError(VitruvianError):
    """Memory or disk is too small for what was asked."""

    exit_code = 4


class RefusedError(VitruvianError):
    """Refused on purpose: trust, licence, or a file that does not match what it claims to be."""

    exit_code = 5


class CheckFailedError(VitruvianError):
    """A check that was asked for did not hold."""

    exit_code = 6


class InterruptedRunError(VitruvianError):
    """The user stopped a run; what was whole by then is kept."""

    exit_code = 130
