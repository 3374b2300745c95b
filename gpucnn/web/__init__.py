"""A page to draw on: what a model says of a drawn digit or of a picture, and why. Nothing leaves the computer."""
