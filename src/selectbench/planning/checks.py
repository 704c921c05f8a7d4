"""What entries of the configuration may not ask for although each of their values is valid: values that contradict each other."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from selectbench.errors import ConfigError, SelectbenchError, spell
from selectbench.planning.entries import Compare, Keep
from selectbench.policy import parse_keep

COSTS = ("total_wall_s", "total_visits", "training_wall_s", "training_visits")  # metrics whose differences are ratios


def check_training(entry: Mapping[str, Any], where: str) -> None:
    """Raise unless the hyperparameters of a training, of a recipe or of an encoder, can be followed together.

    Raises
    ------
    ConfigError
        The warm-up is longer than the training, Nesterov momentum has no momentum, a process has no sample of a batch, or shares of
        training do not ascend, to 1 where proxies are recorded.
    """
    if entry["warmup_epochs"] > entry["epochs"]:
        raise ConfigError(f"{where}.warmup_epochs: {entry['warmup_epochs']:g} is more than its {entry['epochs']} epochs")
    if entry.get("nesterov") and not entry["momentum"]:
        raise ConfigError(f"{where}.nesterov: true needs a momentum above 0; write false")
    if entry.get("processes", 1) > entry["batch_size"]:
        raise ConfigError(f"{where}.processes: {entry['processes']} is more than the {entry['batch_size']} samples of a batch")
    for key in ("record_at", "align_at"):
        shares = entry.get(key, [])
        if sorted(set(shares)) != shares:
            raise ConfigError(f"{where}.{key}: {shares} does not ascend; write {sorted(set(shares))}")
    if "record_at" in entry and entry["record_at"][-1] != 1:
        raise ConfigError(f"{where}.record_at: ends with {entry['record_at'][-1]:g}; the last share must be 1")


def check_augment(augment: Mapping[str, Any], shape: Sequence[int], where: str) -> None:
    """Raise if images are too small for their augmentation.

    Parameters
    ----------
    augment : of a recipe
    shape : channels, height and width of an image
    where : the place of the recipe

    Raises
    ------
    ConfigError
        Crops may lie outside the image, or the square that is blanked is larger than it.
    """
    side = min(shape[1:])
    if augment["crop_padding"] >= side:
        raise ConfigError(f"{where}.augment.crop_padding: {augment['crop_padding']} is not below the {side} pixels of an image")
    if augment["cutout"] > side:
        raise ConfigError(f"{where}.augment.cutout: {augment['cutout']} is more than the {side} pixels of an image")


def check_network(entry: Mapping[str, Any], where: str) -> None:
    """Raise if a patch-based network has a width that its attention heads do not divide."""
    if "heads" in entry and entry["width"] % entry["heads"]:
        raise ConfigError(f"{where}.heads: {entry['heads']} does not divide the width of {entry['width']}")


def check_patches(entry: Mapping[str, Any], shape: Sequence[int], where: str) -> None:
    """Raise if the patches of a network do not tile images of a shape (channels, height, width)."""
    if "patch" in entry and any(side % entry["patch"] for side in shape[1:]):
        height, width = shape[1:]
        raise ConfigError(f"{where}.patch: patches of {entry['patch']}×{entry['patch']} do not tile images of {height}×{width} pixels")


def check_keeps(keeps: Iterable[Keep], where: str) -> None:
    """Raise for the first value that is not a keep fraction, or is one for the second time; ``where`` is the place of the key ``keep``."""
    found: dict[Fraction, Keep] = {}
    for keep in keeps:
        try:
            fraction = parse_keep(keep)
        except SelectbenchError as error:
            raise ConfigError(f"{where}.{error}") from None
        if fraction in found:
            raise ConfigError(f"{where}.keep: {spell(found[fraction])} and {spell(keep)} are the same keep fraction")
        found[fraction] = keep


def check_sides(compare: Compare, place: str) -> None:
    """Raise unless a claim compares methods with others, in one way that its metric allows; ``place`` is that of the comparison.

    Raises
    ------
    ConfigError
        A method is compared with itself, keys exclude each other, or an allowance is not in the unit of the metric.
    """
    if ("bound" in compare) == ("against" in compare):
        raise ConfigError(f"{place}: give either against, the methods to compare with, or bound, which the metric must not exceed")
    for method in compare["method"]:
        if method in compare.get("against", ()):
            raise ConfigError(f"{place}.against: {method!r} is compared with itself; remove it on one side")
    for key, others in (("bound", ("spread", "than", "margin", "factor")), ("spread", ("than",)), ("margin", ("factor",))):
        if compare.get(key) and (other := next((name for name in others if name in compare), None)):
            raise ConfigError(f"{place}.{other}: does not go with {key}; remove one of them")
    is_cost = compare["metric"] in COSTS
    if "margin" in compare and is_cost:
        raise ConfigError(f"{place}.margin: costs are compared by their ratio; give a factor")
    if "factor" in compare and not is_cost:
        raise ConfigError(f"{place}.factor: {compare['metric']} is no cost; give a margin")
