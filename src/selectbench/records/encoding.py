"""UTF-8 in any locale: names of files, arguments, and all texts that are read or written."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path

from selectbench.errors import ConfigError

UTF8_MODE = "PYTHONUTF8"  # makes Python ignore the locale
STREAMS = "PYTHONIOENCODING"
PROGRAMS = ("selectbench", "snakemake")  # that may be started again


def speak_utf8() -> None:
    """Let the standard streams carry UTF-8, and any other bytes in names of files as they are."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper) and (stream.encoding, stream.errors) != ("utf-8", errors):
            stream.reconfigure(encoding="utf-8", errors=errors)


def hold_utf8() -> None:
    """Ignore the locale from here on: let this program begin again in Python's UTF-8 mode if it has begun in another.

    Child processes inherit the mode.

    Raises
    ------
    ConfigError
        This is part of another program, or Python was told to ignore its variables.
    """
    if sys.getfilesystemencoding() == "utf-8" and (sys.flags.utf8_mode or not is_foreign()):
        speak_utf8()
        return
    if os.environ.get(UTF8_MODE) == "1" or name_program() not in PROGRAMS:
        raise ConfigError(f"the locale has the encoding {sys.getfilesystemencoding()}, not UTF-8; set {UTF8_MODE}=1 and start again")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {UTF8_MODE: "1", STREAMS: "utf-8"})


def is_foreign() -> bool:
    """Tell whether texts are read and written in another encoding than UTF-8 unless it is named."""
    import locale

    return locale.getencoding().lower().replace("-", "") != "utf8"


def name_program() -> str:
    """Return the name of the program that Python runs: that of its script, or of the package whose module it is."""
    path = Path(sys.argv[0])
    return path.parent.name if path.suffix == ".py" else path.name
