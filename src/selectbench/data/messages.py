"""Messages of other libraries inside ours, which are of one line."""


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
