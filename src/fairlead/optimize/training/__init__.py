"""Training in the loop: an ONNX graph as a PyTorch network that can be trained, cut and written back. Needs the extra `torch`."""
