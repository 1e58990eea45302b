"""Checks: `verify` recounts, `doctor` examines cluster and host, `chaos` breaks things on purpose."""
