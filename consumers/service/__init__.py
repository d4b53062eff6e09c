"""What runs beside the stream: life cycle, health, metrics, endpoints, reports."""
