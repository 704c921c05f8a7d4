"""selectbench: exact, costed and reproducible data selection.

The names below are the library's interface; each is loaded at its first use, so that ``import selectbench`` stays fast.

>>> import selectbench as sb
>>> subset = sb.select("moderate", sb.Signals(labels=y, features=h), keep=0.3)
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "Signals": "selectbench.signals",
    "Subset": "selectbench.selection",
    "sample_cover": "selectbench.rl.cover",
    "score": "selectbench.selection",
    "select": "selectbench.selection",
    "take": "selectbench.selection",
    "MissingPackage": "selectbench.errors",
    "MissingSignal": "selectbench.errors",
    "SelectbenchError": "selectbench.errors",
    "available_methods": "selectbench.methods",
}
_PACKAGES = ["dynamic", "llm"]
__all__ = sorted([*_HOME, *_PACKAGES, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOME and name not in _PACKAGES:
        raise AttributeError(f"module 'selectbench' has no attribute {name!r}")
    from selectbench.errors import needing_packages

    with needing_packages(f"selectbench.{name}"):
        if name in _PACKAGES:
            return importlib.import_module(f"selectbench.{name}")
        return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
