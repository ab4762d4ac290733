"""Layer 3: proven lower bounds that no general solver gives.

`convex` is an exact branch and bound in weight space for neurons with a convex loss, `agreement` one for
single neurons whose signs are counted, and `hull` proves networks with one hidden layer by column generation.
"""
