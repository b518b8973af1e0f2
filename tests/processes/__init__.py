"""Several server processes under one parent."""
