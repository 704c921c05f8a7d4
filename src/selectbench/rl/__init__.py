"""RL-Selector: the ε-sample cover its reward is made of."""
