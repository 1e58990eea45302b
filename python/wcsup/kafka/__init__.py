"""Kafka as a client sees it: clients, topics, groups, transactions, and the kinds of failures."""
