"""Search for the best `.tflite` within limits of size, latency and score."""
