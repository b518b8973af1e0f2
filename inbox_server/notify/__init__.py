"""Wake-ups outside: telling an owner elsewhere that something waits. A hint may be lost; what waits is in the list."""
