"""RL-Selector: sample cover, rewards, environments and agents."""
