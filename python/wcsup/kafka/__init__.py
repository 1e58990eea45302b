"""Kafka: clients, topics, the kinds of failures, and the embedded broker."""
