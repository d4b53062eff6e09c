"""Settings become objects here; the only place that meets producers."""
