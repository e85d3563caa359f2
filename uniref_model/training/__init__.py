"""Training of UniRef on clips with masks and referring expressions (needs PyTorch)."""
