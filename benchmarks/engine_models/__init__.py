"""The five models of benchmarks/engines.py."""
