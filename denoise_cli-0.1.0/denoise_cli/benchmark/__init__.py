"""How fast programs, networks and operators are, compared with others.

It does not format terminal tables.
"""
