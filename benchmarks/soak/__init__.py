"""Soak test: small runs under faults, whose final weights must equal those of an undisturbed run."""
