"""Evidence: whether results add up, whether they can be remade, and how they travel between folders, machines and archives."""
