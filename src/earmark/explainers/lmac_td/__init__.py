"""LMAC-TD: a mask on a learned representation of the waveform, so that the evidence is a sound by construction."""
