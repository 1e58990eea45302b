"""Checks for anyone: `verify` recounts, `doctor` looks at the surroundings, `chaos` breaks things on purpose."""
