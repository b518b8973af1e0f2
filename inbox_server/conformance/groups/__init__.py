"""The cases, one file for each group. A case's docstring is the rule that it checks, in plain words."""
