"""How good denoisers are: samples with a known truth, scores, classical baselines, and tables and plots as files.

It does not decode files itself and does not format terminal tables.
"""
