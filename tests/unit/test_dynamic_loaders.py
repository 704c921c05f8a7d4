"""Every sampler with a real DataLoader, and in training loops for other tasks."""

import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments, default_data_collator

import selectbench as sb

ALL = ["data_agent", "epsilon_greedy", "full", "infobatch", "random_dynamic", "top_loss", "ucb"]
NUM, BATCH, EPOCHS = 50, 8, 6  # epoch 0 warms up, 1 … 4 prune, 5 anneals


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name, keep=0.4, num=NUM, epochs=EPOCHS, **parameters):
    return sb.dynamic.make(name, num_samples=num, keep=1 if name == "full" else keep, epochs=epochs, **parameters)


def make_data(num=NUM, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    return TensorDataset(torch.randn(num, 5, generator=generator) + 2.0 * torch.eye(3, 5)[labels], labels)


def build(*layers):
    """A model whose weights depend only on its shape."""
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) / math.sqrt(value.shape[-1]))
    return model


def train(name, workers=0, epochs=EPOCHS, **options):
    """Train a classifier; return the batches of ids of every epoch, the sampler and the accuracy."""
    data, sampler = make_data(), make(name, epochs=epochs)
    loader = DataLoader(sb.dynamic.WithIds(data), batch_size=BATCH, sampler=sampler, num_workers=workers, **options)
    body, head = build(nn.Linear(5, 16), nn.ReLU()), build(nn.Linear(16, 3))
    optimiser = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
    visited = []
    for _ in range(epochs):
        visited.append([])
        for ids, inputs, labels in loader:
            features = body(inputs)
            logits = head(features)
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            optimiser.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimiser.step()
            sampler.observe(ids, losses, logits, features)
            visited[-1].append(ids.tolist())
        assert len(visited[-1]) == len(loader)
    inputs, labels = data.tensors
    return visited, sampler, (head(body(inputs)).argmax(dim=1) == labels).float().mean().item()


@pytest.mark.parametrize("name", ALL)
def test_an_epoch_ends_after_its_batches_and_the_model_learns(name):
    visited, sampler, accuracy = train(name)
    for epoch, batches in enumerate(visited):
        kept = sampler.trace[epoch]["kept"]
        assert len(batches) == math.ceil(kept / BATCH)
        assert [len(batch) for batch in batches[:-1]] == [BATCH] * (len(batches) - 1)
        ids = [sample for batch in batches for sample in batch]
        assert len(set(ids)) == len(ids) == kept == sampler.trace[epoch]["observed"]
        if name not in ("full", "infobatch"):
            assert kept == (20 if 1 <= epoch < 5 else NUM)
    assert sampler.visits == sum(len(batch) for batches in visited for batch in batches)
    assert accuracy > 0.7


@pytest.mark.parametrize(("name", "persistent"), [(name, name in ("infobatch", "data_agent")) for name in ALL])
def test_two_workers_change_nothing(name, persistent):
    alone = train(name, epochs=3)
    assert train(name, workers=2, epochs=3, persistent_workers=persistent)[0] == alone[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_without_automatic_batches_an_epoch_is_one_epoch_too(workers):
    sampler = make("random_dynamic")
    loader = DataLoader(sb.dynamic.WithIds(make_data()), batch_size=None, sampler=sampler, num_workers=workers)
    lengths = [sum(1 for _ in loader) for _ in range(2)]
    assert lengths == [NUM, 20] and sampler.epoch == 1


def test_dropping_the_last_batch_is_the_loaders_business():
    sampler = make("random_dynamic")
    loader = DataLoader(sb.dynamic.WithIds(make_data()), batch_size=BATCH, sampler=sampler, drop_last=True)
    assert [sum(len(batch[0]) for batch in loader) for _ in range(2)] == [48, 16]


def test_set_epoch_tells_the_loader_its_length_in_time():
    sampler = make("random_dynamic")
    loader = DataLoader(sb.dynamic.WithIds(make_data()), batch_size=BATCH, sampler=sampler)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        planned = len(loader)
        assert planned == (3 if 1 <= epoch < 5 else 7) == sum(1 for _ in loader)


def test_a_training_resumed_from_a_state_visits_the_same_batches():
    data = make_data()
    sampler, resumed = make("infobatch"), make("infobatch")

    def visit(sampler):
        visited = []
        for ids, inputs, _ in DataLoader(sb.dynamic.WithIds(data), batch_size=BATCH, sampler=sampler):
            sampler.observe(ids, inputs.square().mean(dim=1) * (1 + 0.1 * sampler.epoch))
            visited.append(ids.tolist())
        return visited

    for _ in range(2):
        visit(sampler)
    resumed.load_state_dict(sampler.state_dict())
    later = [visit(sampler) for _ in range(4)]
    assert later == [visit(resumed) for _ in range(4)]
    assert len(later[0]) < 7


def test_items_start_with_their_ids():
    assert sb.dynamic.WithIds(["a", "b"])[1] == (1, "b")
    assert sb.dynamic.WithIds([("a", 0), ["b", 1]])[0] == (0, "a", 0)
    assert sb.dynamic.WithIds([("a", 0), ["b", 1]])[1] == (1, "b", 1)
    assert len(sb.dynamic.WithIds("abc")) == 3


def test_items_with_keys_carry_their_ids_under_one_of_the_users():
    items = [{"input_ids": [1, 2, number], "labels": number % 2} for number in range(8)]
    assert sb.dynamic.WithIds(items)[5] == {"sample_id": 5, "input_ids": [1, 2, 5], "labels": 1}
    assert list(sb.dynamic.WithIds(items, key="row")[5]) == ["row", "input_ids", "labels"]
    with pytest.raises(sb.SelectbenchError, match="items have a key 'labels' already; name another one"):
        sb.dynamic.WithIds(items, key="labels")[0]
    sampler = make("random_dynamic", num=8)
    for collate in (None, default_data_collator):
        batch = next(iter(DataLoader(sb.dynamic.WithIds(items), batch_size=4, sampler=list(sampler.epoch_ids), collate_fn=collate)))
        assert batch["sample_id"].tolist() == sampler.epoch_ids[:4].tolist() and batch["sample_id"].dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_a_look_at_a_batch_before_training_is_no_epoch(workers):
    sampler = make("infobatch")
    loader = DataLoader(sb.dynamic.WithIds(make_data()), batch_size=BATCH, sampler=sampler, num_workers=workers)
    next(iter(loader))
    with pytest.raises(sb.SelectbenchError, match=r"epoch 0 was left after \d+ of 50 .* call set_epoch\(0\) to repeat it"):
        next(iter(loader))
    sampler.set_epoch(0)
    assert sum(len(ids) for ids, *_ in loader) == NUM and sampler.epoch == 0


def test_accelerate_resumes_where_it_is_told_to(tmp_path):
    def prepare():
        accelerator, sampler = Accelerator(cpu=True), make("infobatch")
        loader = accelerator.prepare(DataLoader(sb.dynamic.WithIds(make_data()), batch_size=BATCH, sampler=sampler))
        accelerator.register_for_checkpointing(sampler)
        return accelerator, sampler, loader

    def visit(sampler, loader):
        visited = []
        for ids, inputs, _ in loader:
            sampler.observe(ids, inputs.square().mean(dim=1) * (1 + 0.1 * sampler.epoch))
            visited.append(ids.tolist())
        return visited

    accelerator, sampler, loader = prepare()
    for _ in range(2):
        visit(sampler, loader)
    accelerator.save_state(tmp_path)
    later = [visit(sampler, loader) for _ in range(4)]
    accelerator, sampler, loader = prepare()
    accelerator.load_state(tmp_path)
    with pytest.raises(sb.SelectbenchError, match=r"set_epoch: 0 is outside 1 … 5.*set_epoch\(2\) to go on \(with accelerate, the prep"):
        next(iter(loader))
    loader.set_epoch(2)
    assert [visit(sampler, loader) for _ in range(4)] == later


def test_trainer_of_transformers(tmp_path):
    """Items with keys, the sampler in place of the trainer's own, and ids that reach the loss."""
    sampler = make("top_loss", num=16)

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, inputs):
            return self.layer(inputs)

    class WatchedTrainer(Trainer):
        def _get_train_sampler(self, *arguments):
            return sampler

        def compute_loss(self, model, batch, *arguments, **options):
            ids, labels = batch.pop("sample_id"), batch.pop("labels")
            losses = nn.functional.cross_entropy(model(**batch), labels, reduction="none")
            sampler.observe(ids, losses)
            return (losses * sampler.weights(ids)).mean()

    items = [{"inputs": [float(number), 1.0, 2.0], "labels": number % 2} for number in range(16)]
    settings = TrainingArguments(
        str(tmp_path),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=4,
        remove_unused_columns=False,
        save_strategy="no",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    WatchedTrainer(Classifier(), settings, train_dataset=sb.dynamic.WithIds(items)).train()
    assert [row["observed"] for row in sampler.trace] == [16, 6, 6, 6, 6, 16]


@pytest.mark.parametrize("name", ["infobatch", "data_agent"])
def test_language_model(name):
    """Sequences that count up in different steps; a sequence's uncertainty is the mean entropy of its tokens."""
    steps = torch.arange(48) % 3 + 1
    tokens = (torch.arange(48)[:, None] * 5 + steps[:, None] * torch.arange(9)) % 12
    model = build(nn.Embedding(12, 24), nn.Linear(24, 24), nn.Tanh())
    head, sampler = build(nn.Linear(24, 12)), make(name, num=48)
    loader = DataLoader(sb.dynamic.WithIds(TensorDataset(tokens)), batch_size=BATCH, sampler=sampler)
    optimiser = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=0.02)
    for _ in range(EPOCHS):
        for ids, batch in loader:
            hidden = model(batch[:, :-1])
            logits = head(hidden)
            losses = nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").mean(dim=1)
            optimiser.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimiser.step()
            entropy = torch.special.entr(logits.detach().softmax(dim=2)).sum(dim=2).mean(dim=1) / math.log(12)
            sampler.observe(ids, losses, features=hidden.mean(dim=1), uncertainty=entropy)
    assert sampler.trace[-1]["loss"] < 0.8 * sampler.trace[0]["loss"]
    assert sampler.visits < 6 * 48 and sampler.seen_fraction == 1


@pytest.mark.parametrize("name", ["top_loss", "data_agent"])
def test_segmentation_model_of_torchvision(name):
    """Bright squares on noise; an image's loss and uncertainty are the means over its pixels."""
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    generator = torch.Generator().manual_seed(0)
    images, masks = torch.randn(12, 3, 64, 64, generator=generator), torch.zeros(12, 64, 64, dtype=torch.long)
    for sample in range(12):
        row, column = torch.randint(0, 40, (2,), generator=generator).tolist()
        masks[sample, row : row + 24, column : column + 24] = 1
    images += 3.0 * masks[:, None]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2).train()
    pooled = []
    model.backbone.register_forward_hook(lambda module, inputs, outputs: pooled.append(outputs["high"].mean(dim=(2, 3))))
    optimiser, sampler = torch.optim.AdamW(model.parameters(), lr=0.003), make(name, num=12, keep=0.5)
    loader = DataLoader(sb.dynamic.WithIds(TensorDataset(images, masks)), batch_size=3, sampler=sampler)
    for _ in range(EPOCHS):
        for ids, inputs, targets in loader:
            logits = model(inputs)["out"]
            losses = nn.functional.cross_entropy(logits, targets, reduction="none").mean(dim=(1, 2))
            optimiser.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimiser.step()
            entropy = torch.special.entr(logits.detach().softmax(dim=1)).sum(dim=1).mean(dim=(1, 2)) / math.log(2)
            sampler.observe(ids, losses, features=pooled.pop(), uncertainty=entropy)
    assert [row["observed"] for row in sampler.trace] == [12, 6, 6, 6, 6, 12]
    assert np.isfinite(sampler.scores if name == "data_agent" else sampler.losses).all()
    assert sampler.trace[-1]["loss"] < 0.8 * sampler.trace[0]["loss"]


@pytest.mark.parametrize("name", ["top_loss", "data_agent"])
def test_detection_model_of_torchvision(name):
    """Bright boxes on noise; an image's loss is the sum of the detector's losses on it, its uncertainty the mean over anchors."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    generator = torch.Generator().manual_seed(0)
    images, corners = torch.rand(8, 3, 96, 96, generator=generator), torch.randint(0, 48, (8, 2), generator=generator)
    boxes = torch.cat([corners, corners + 40], dim=1)
    for image, (left, top, right, bottom) in zip(images, boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] += 2.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        norms = {"norm_layer": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels)}  # batch normalisation fails on one image
        model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2, **norms).train()
    pooled, scored = [], []
    model.backbone.register_forward_hook(lambda module, inputs, outputs: pooled.append(outputs["0"].mean(dim=(2, 3))))
    model.head.register_forward_hook(lambda module, inputs, outputs: scored.append(outputs["cls_logits"]))
    optimiser, sampler = torch.optim.AdamW(model.parameters(), lr=0.001), make(name, num=8, keep=0.5)
    loader = DataLoader(sb.dynamic.WithIds(TensorDataset(images, boxes)), batch_size=2, sampler=sampler)
    for _ in range(EPOCHS):
        for ids, inputs, found in loader:
            targets = [{"boxes": box[None].float(), "labels": torch.ones(1, dtype=torch.long)} for box in found]
            losses = torch.stack([sum(model([image], [target]).values()) for image, target in zip(inputs, targets, strict=True)])
            optimiser.zero_grad()
            (losses * sampler.weights(ids)).mean().backward()
            optimiser.step()
            logits = torch.cat(scored).detach()
            entropy = torch.special.entr(logits.softmax(dim=2)).sum(dim=2).mean(dim=1) / math.log(2)
            sampler.observe(ids, losses, features=torch.cat(pooled), uncertainty=entropy.clamp(max=1.0))
            pooled.clear(), scored.clear()
    assert [row["observed"] for row in sampler.trace] == [8, 4, 4, 4, 4, 8]
    assert np.isfinite(sampler.scores if name == "data_agent" else sampler.losses).all()
    assert sampler.trace[-1]["loss"] < 0.8 * sampler.trace[0]["loss"]
