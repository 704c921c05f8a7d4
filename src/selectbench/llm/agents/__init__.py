"""Agents that search sets of clusters, one per file; the file name is the agent's id."""

from collections.abc import Mapping
from typing import Any

from selectbench.llm.agents._base import ClusterAgent, Effort, Found
from selectbench.registry import check_parameter_names, list_ids, load_class

__all__ = ["ClusterAgent", "Effort", "Found", "available_agents", "load_agent", "make_agent"]


def available_agents() -> list[str]:
    """Return the ids of all agents, sorted."""
    return list_ids(__file__)


def load_agent(name: str) -> type[ClusterAgent]:
    """Return the class of an agent, given its id.

    Raises
    ------
    SelectbenchError
        No such agent; the message suggests the closest id.
    """
    kind: type[ClusterAgent] = ClusterAgent  # type: ignore[type-abstract]  # stands for its subclasses
    return load_class("selectbench.llm.agents", kind, name, available_agents(), "agent")


def make_agent(name: str, parameters: Mapping[str, Any]) -> ClusterAgent:
    """Return an agent with the given parameters; its class checks their values.

    Raises
    ------
    SelectbenchError
        No such agent or parameter (the message suggests the closest one), or a value is invalid.
    """
    agent = load_agent(name)
    check_parameter_names(agent, parameters, f"agent {name!r}")
    return agent(**parameters)
