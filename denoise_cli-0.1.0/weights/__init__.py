"""Trained weights (safetensors), and `manifest.toml`, which describes each of them."""
