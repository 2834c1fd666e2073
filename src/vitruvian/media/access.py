"""Why a file cannot be read, in one line without its path."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vitruvian.errors import InputError


@contextmanager
def said_plainly() -> Iterator[None]:
    """Turn what the operating system says about opening or reading an input into an `InputError`."""
    try:
        yield
    except FileNotFoundError:
        raise InputError("vanished after it was listed") from None
    except PermissionError:
        raise InputError("may not be read: permission denied") from None
    except ValueError:
        raise InputError("has no usable path") from None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or errno.errorcode.get(error.errno or 0, 'error')}"
        ) from None
