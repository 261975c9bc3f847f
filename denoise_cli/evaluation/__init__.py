"""How good denoisers are: samples with a known truth, scores, classical baselines, tables and plots as files.

It decodes no file by hand, and formats no terminal tables.
"""
