"""States of interrupted jobs: what they save beside their outputs, and read when they start again."""

from pathlib import Path
from typing import Any

import torch

from selectbench.records.files import write_atomically


def load_state(state: Path) -> dict[str, Any] | None:
    """Return a saved state, or None; a half-written or foreign file is ignored, which only costs the work it held."""
    if not state.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(state, map_location="cpu", weights_only=True)
        return saved
    except Exception:
        return None


def save_state(state: Path, content: dict[str, Any]) -> None:
    """Write a state atomically."""
    write_atomically(state, lambda stream: torch.save(content, stream))
