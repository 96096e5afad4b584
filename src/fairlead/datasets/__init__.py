"""Tools: rows from .npz, .npy, .csv and .parquet files, bound to a model's interface, or drawn from it."""
