"""The models of benchmarks/onnx_battery.py."""
