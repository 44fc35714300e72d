"""LayerPrune: which whole blocks a net can do without (Elkerdawy et al. 2020, arXiv 2007.05667)."""
