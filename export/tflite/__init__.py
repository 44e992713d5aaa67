"""Keras model → `.tflite`."""
