"""One module a command: `wcsup top` is `top.py`. A module has the click command as `command`."""
