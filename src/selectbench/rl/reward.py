"""RL-Selector's reward: alignment with the target keep fraction plus redundancy, shared by all samples or given per sample."""

from dataclasses import dataclass

import torch

from selectbench.rl.settings import Alignment, Form, Terms


@dataclass(frozen=True, kw_only=True)
class Reward:
    """r = r1 + r2 for a mask π over N samples with redundancies E, in two readings of the paper.

    The shared reward of a mask is r1(fraction of π > ½) + mean(E · π); it judges masks, whatever agents are paid.

    ``scalar`` pays it to every sample. ``per_sample`` pays each sample E_i π_i plus a difference reward: N times what r1 would lose
    if the sample were dropped, which jumps between two values as the kept fraction crosses the target. With ``alignment: price``,
    r1 is replaced by a price λ on what is kept, which rises while too much is kept and falls while too little is: a sample is paid
    (E_i − λ) π_i, or all of them the mean of this.

    Parameters
    ----------
    keep : target keep fraction
    form : shared or per-sample reward
    terms : which of r1 and r2 are included
    alignment : r1 itself, or a price
    delta : weight Δ of r1
    price_rate : the price rises by this times the kept fraction of a batch above the target
    """

    keep: float
    form: Form = "per_sample"
    terms: Terms = "both"
    alignment: Alignment = "gap"
    delta: float = 2.0
    price_rate: float = 0.1

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

    def pay(
        self, actions: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cover: torch.Tensor, price: float = 0.0
    ) -> torch.Tensor:
        """Return what a batch's actions would be paid if they were stored in the mask, for one or several draws of them.

        Parameters
        ----------
        actions : (…, B), each row one draw
        positions : (B,) where the batch is in the mask
        mask, cover : (N,) the mask, and the redundancies
        price : λ, used with ``alignment: price``

        Returns
        -------
        (…, B), like the actions.
        """
        num, kept = len(mask), (actions > 0.5).double()
        counts = kept.sum(dim=-1, keepdim=True) + (mask > 0.5).sum() - (mask[positions] > 0.5).sum()  # kept of the whole pool
        aligned, worth = self.terms != "redundancy", torch.zeros_like(cover) if self.terms == "alignment" else cover
        if aligned and self.alignment == "price":
            aligned, worth = False, worth - price
        if self.form == "scalar":
            total = (worth * mask).sum() - (worth * mask)[positions].sum() + (worth[positions] * actions).sum(dim=-1, keepdim=True)
            paid = (self.align(counts / num) if aligned else 0.0) + total / num
            return paid.to(actions.dtype).expand_as(actions)
        gained = num * (self.align((counts - kept + 1) / num) - self.align((counts - kept) / num)) * kept if aligned else 0.0
        return (gained + worth[positions] * actions).to(actions.dtype)

    def move_price(self, price: float, actions: torch.Tensor) -> float:
        """Return the price after a batch whose actions (B,) are stored in the mask."""
        return price + self.price_rate * (float((actions > 0.5).double().mean()) - self.keep)
