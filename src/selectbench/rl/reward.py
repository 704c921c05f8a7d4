"""RL-Selector's reward: alignment with the target keep fraction plus redundancy, shared by all samples or given per sample."""

from dataclasses import dataclass

import torch

from selectbench.rl.settings import Form, Terms


@dataclass(frozen=True, kw_only=True)
class Reward:
    """r = r1 + r2 for a mask π over N samples with redundancies E, in two readings of the paper.

    The shared reward of a mask is r1(fraction of π > ½) + mean(E · π). ``scalar`` gives it to every sample. ``per_sample`` gives
    each sample E_i π_i plus a difference reward: N times the decrease of r1 if the sample were dropped.

    Parameters
    ----------
    keep : target keep fraction
    form : shared or per-sample reward
    terms : which of r1 and r2 are included
    delta : weight Δ of the alignment
    """

    keep: float
    form: Form = "per_sample"
    terms: Terms = "both"
    delta: float = 2.0

    def align(self, fraction: torch.Tensor) -> torch.Tensor:
        """Return r1 = Δ (1 − |gap| / room), which is Δ at the target fraction and falls to 0 at fractions 0 and 1."""
        gap = fraction - self.keep
        room = torch.where(gap >= 0, torch.full_like(gap, 1.0 - self.keep), torch.full_like(gap, self.keep))
        return self.delta * (1.0 - gap.abs() / room.clamp_min(1e-9))

    def measure(self, mask: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
        """Return the shared reward () of a mask (N,) with redundancies (N,)."""
        total = torch.zeros((), device=mask.device, dtype=torch.float64)
        if self.terms != "redundancy":
            total = total + self.align((mask > 0.5).double().mean())
        if self.terms != "alignment":
            total = total + (cover * mask).double().mean()
        return total

    def pay(self, actions: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
        """Return the rewards (B,) of a batch whose actions (B,) are stored in the mask at ``positions`` (B,)."""
        if self.form == "scalar":
            return self.measure(mask, cover).to(actions.dtype).expand(len(actions))
        paid = torch.zeros_like(actions)
        if self.terms != "redundancy":
            kept, num = (mask > 0.5).sum().double(), len(mask)
            with_it, without_it = self.align(kept / num), self.align((kept - 1) / num)
            paid = paid + (num * (with_it - without_it)).to(actions.dtype) * (actions > 0.5)
        if self.terms != "alignment":
            paid = paid + cover[positions] * actions
        return paid
