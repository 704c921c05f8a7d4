"""Selection for language-model fine-tuning: texts, their clusters, and agents that search sets of clusters.

>>> found = sb.llm.search(texts, reward=lambda ids: -loss_after_training_on(ids), keep=0.05)
>>> env = sb.llm.ClusterEnv(clusters=8, budget=3, reward=lambda chosen: -loss_after_training_on(chosen))
"""

from selectbench.llm.agents import available_agents
from selectbench.llm.environment import ClusterEnv
from selectbench.llm.search_texts import TextSearch, search

__all__ = ["ClusterEnv", "TextSearch", "available_agents", "search"]
