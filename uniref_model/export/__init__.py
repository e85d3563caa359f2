"""Writing the deployable ONNX graphs (needs PyTorch; the runtimes do not)."""
