"""Gives memory back to the system that the C library would keep for itself."""

LARGE_BYTES = 4 << 20
"""Work over so many bytes in a thread leaves enough behind that giving it back pays."""


def return_memory() -> None:
    """Give freed memory back. Takes a few milliseconds; does nothing where the C library cannot.

    What a thread allocates comes from an arena of its own, which glibc shrinks only when it is asked to.
    After an index of a million needles was sorted, 140 MB would stay.
    """
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
