"""Layer 3: solver back ends for mixed-integer linear models, one file each."""
