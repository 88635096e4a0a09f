"""L-MAC: a decoder of a frozen classifier's maps that draws a mask which can be heard."""
