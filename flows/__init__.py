"""What happens: one deployable recipe a file. No logic; reads like prose."""
