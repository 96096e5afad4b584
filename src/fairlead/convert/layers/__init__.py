"""One module per family of Keras layers; `table` says which function converts which kind."""
