"""vqe: makes compressed video look better, guided by what the bitstream knows."""

__version__ = "0.1.0"
