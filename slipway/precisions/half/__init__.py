"""Which float32 values of a graph become float16, and the graph with them.

`operators` knows what schemas and kernels allow; `values` reads a model as values and the units
that make and read them; `reasons` finds the units that have to stay float32, from `constants`,
integers, and the activations that `ranges` measured; `labels` chooses for all others, by a minimum
cut (`cuts`) that leaves no island; `rewriting` makes the graph; `overflow` evaluates it in true
half arithmetic.
"""
