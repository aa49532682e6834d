"""Household vehicles 2.3: a vehicle by its VIN or plate, or the vehicles at an address, with title and lien."""
