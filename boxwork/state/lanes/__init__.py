"""The ways to run transactions against each other; each of them is serializable."""
