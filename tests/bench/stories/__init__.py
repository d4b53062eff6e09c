"""Stories of attacks and their benign twins, for judging what the detector names."""
