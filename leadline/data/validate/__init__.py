"""`leadline data check`: a data set's likely faults."""
