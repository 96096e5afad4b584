"""The models of the PyTorch battery, how they are saved, and how Fairlead's answers are compared with PyTorch's."""
