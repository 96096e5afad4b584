"""The models of tensorflow_battery.py: how they are saved, and how they are checked."""
