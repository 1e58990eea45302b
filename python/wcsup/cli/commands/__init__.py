"""One module for each command: `wcsup top` is `top.py`. A module has its click command as `command`."""
