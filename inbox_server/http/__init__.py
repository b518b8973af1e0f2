"""HTTP: routes, listeners, and the capability document. It decides nothing about an inbox."""
