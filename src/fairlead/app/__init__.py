"""Use cases: the product's sentences. wiring.py alone knows concrete classes."""
