"""TensorFlow Model Optimization, run in the sandbox on a Keras model that was read as data."""
