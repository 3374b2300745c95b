"""`gpucnn bench`: what training costs. Nothing is imported here, since every measured process begins with it."""
