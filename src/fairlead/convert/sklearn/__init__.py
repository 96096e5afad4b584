"""scikit-learn estimators as ONNX graphs in double precision, one family per file. Loaded only inside the sandboxed child."""
