"""TensorRT: the same graphs as engines, cached on disk and accepted only when they agree with ONNX
Runtime."""
