"""The best `.tflite` within bounds of bytes, latency and score."""
