"""Selection for language-model fine-tuning: texts, their clusters, and agents that search sets of clusters.

>>> env = sb.llm.ClusterEnv(clusters=8, budget=3, reward=lambda chosen: -loss_after_training_on(chosen))
"""

from selectbench.llm.environment import ClusterEnv

__all__ = ["ClusterEnv"]
