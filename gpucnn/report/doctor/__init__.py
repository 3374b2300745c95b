"""`gpucnn doctor`: what of the machine keeps CPU or GPU from working, each cause with the one command that mends it."""

from .checks import CUDNN_FROM, FRONT_ENDS, MARKS, Check, Report, examine, render

__all__ = ["CUDNN_FROM", "FRONT_ENDS", "MARKS", "Check", "Report", "examine", "render"]
