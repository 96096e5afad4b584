"""Tree ensembles as ONNX: columns, nodes, outputs, and rows on their thresholds."""
