"""Layer 3: proven lower bounds that no general solver gives.

`convex` is an exact branch and bound in weight space for neurons with a convex loss.
"""
