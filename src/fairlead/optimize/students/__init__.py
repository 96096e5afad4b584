"""Small students of any model with numbers as inputs: taught by its answers, written with its interface."""
