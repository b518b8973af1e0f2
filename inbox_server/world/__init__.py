"""A small local world for demos, tests and app developers without internet: a name service, a Gaia hub, people.

The server never imports it.
"""
