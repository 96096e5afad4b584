"""Step 3: Artifact -> canonical ONNX."""
