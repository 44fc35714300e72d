"""How accurate depth is: metrics under named protocols."""
