"""How fast things are: whole programs, networks and operators, beside those of others.

It formats no terminal tables.
"""
