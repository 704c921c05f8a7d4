"""Where methods, agents and heads find what they read, as outputs of other jobs."""

from typing import TYPE_CHECKING

from selectbench.planning.stage import Output
from selectbench.signals import REPLICATES
from selectbench.stages.cluster_texts import ClusterTexts
from selectbench.stages.embed_samples import EmbedSamples
from selectbench.stages.embed_texts import EmbedTexts
from selectbench.stages.measure_gradients import MeasureGradients
from selectbench.stages.measure_influences import MeasureInfluences
from selectbench.stages.measure_texts import MeasureTexts
from selectbench.stages.train_proxy import TrainProxy
from selectbench.stages.train_replicates import TrainReplicates

if TYPE_CHECKING:
    from selectbench.planning.plan import Plan
    from selectbench.planning.stage import Stage


def find_signals(plan: "Plan", source: str, dataset: str, proxy: str, seed: str) -> Output:
    """Return the signals of one source (see ``signals.SOURCES`` and ``signals.REPLICATES``); those of texts alone have no seed."""
    recorder: Stage
    if source == "encoder":
        recorder = EmbedTexts(dataset) if plan.config.is_text(dataset) else EmbedSamples(dataset, seed)
    elif source in ("statistics", "perplexities"):
        recorder = MeasureTexts(dataset, source)
    elif source == "influences":
        recorder = MeasureInfluences(dataset, seed)
    elif source == "proxy":
        recorder = TrainProxy(dataset, proxy, seed)
    elif source in REPLICATES:
        recorder = TrainReplicates(dataset, proxy, source, seed)
    else:
        recorder = MeasureGradients(dataset, proxy, source, seed)
    return Output(recorder, "signals")


def find_embeddings(plan: "Plan", dataset: str, *models: str) -> list[Output]:
    """List the embeddings that language models read: one file if any of these models is a head on frozen embeddings."""
    return [Output(EmbedTexts(dataset), "splits")] if any(plan.config.is_head(model) for model in models) else []


def find_clusters(plan: "Plan", dataset: str, seed: str, method: str | None = None) -> Output:
    """Return the clusters that the agent of a method searches; without a method, those that agents search by default."""
    from selectbench.llm.agents import ClusterAgent

    agent = ClusterAgent if method is None else plan.config.make_agent(method)
    return Output(ClusterTexts(dataset, agent.clustering, str(agent.clusters), seed), "clusters")
