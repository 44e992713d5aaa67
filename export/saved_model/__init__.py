"""Keras model → SavedModel for TF Serving."""
