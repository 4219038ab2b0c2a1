"""Values that hold for all that is called inside of a `with`."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def setting(variable: contextvars.ContextVar, value: Any) -> Iterator[None]:
    """Inside, a context variable has this value; outside, the one that it had.

    >>> width = contextvars.ContextVar("width", default=1)
    >>> with setting(width, 2):
    ...     width.get()
    2
    >>> width.get()
    1
    """
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
