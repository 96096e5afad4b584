"""Tree ensembles inside of ONNX graphs: found, evaluated, changed, written back."""
