"""Requests to other people's servers: guarded against where strangers' URLs lead, and limited in number."""
