"""`gpucnn bench`: what training costs. Little is imported here, since every measured process begins with it."""

import os

# JAX takes three quarters of a GPU's memory at its first call otherwise, from all that is measured beside it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
