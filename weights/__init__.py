"""Trained weights (safetensors) and `manifest.toml`, which says what each is."""
