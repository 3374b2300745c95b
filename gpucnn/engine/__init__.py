"""How one network runs on one device: the rewritten network, one step in two strategies, inference, memory."""
