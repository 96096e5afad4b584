"""Keras layers evaluated with numpy, one module per family, written from Keras's documented semantics; see `registry`."""
