"""Training as in the paper: three stages on the published data sets (needs PyTorch and accelerate)."""
