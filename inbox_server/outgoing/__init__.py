"""Requests to other people's servers: guarded against strangers' URLs, and limited in number."""
