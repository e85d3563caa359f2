"""What the model finds: the ablations of the paper, on generated and on real clips."""
