"""What a run serves over HTTP: health, metrics, its state as JSON, a page for browsers, and control with a token.

`server` accepts clients and has a thread for each. `site` has the answers by path. `history` and `commits` keep what
the page's charts show, `stream` sends the page what is new, `control` takes what it asks for. `page/` has the page's
sources and `openapi.json` the description of the JSON.
"""
