"""Models that are saved as MLflow folders, family by family."""
