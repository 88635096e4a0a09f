"""LMAC-ZS: a decoder that is told a text, and draws what of a sound speaks for it."""
