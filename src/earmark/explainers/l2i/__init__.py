"""L2I: components of a dictionary of spectra, activated by what a frozen classifier hears, and heard one by one."""
