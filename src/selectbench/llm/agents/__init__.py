"""Agents that search sets of clusters: one file each; the file's name is the agent's id."""

from collections.abc import Mapping

from selectbench.llm.agents._base import ClusterAgent, Found
from selectbench.registry import check_parameter_names, list_ids, load_class

__all__ = ["ClusterAgent", "Found", "available_agents", "load_agent", "make_agent"]


def available_agents() -> list[str]:
    """List the ids of all agents that are built."""
    return list_ids(__file__)


def load_agent(name: str) -> type[ClusterAgent]:
    """Return the class of an agent by its id.

    Raises
    ------
    SelectbenchError
        No such agent; the closest id is named.
    """
    return load_class("selectbench.llm.agents", ClusterAgent, name, available_agents(), "agent")


def make_agent(name: str, parameters: Mapping[str, object]) -> ClusterAgent:
    """Return an agent with its parameters set.

    Raises
    ------
    SelectbenchError
        No such agent, or no such parameter; the closest one is named.
    """
    agent = load_agent(name)
    check_parameter_names(agent, parameters, f"agent {name!r}")
    return agent(**parameters)
