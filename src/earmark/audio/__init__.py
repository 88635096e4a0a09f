"""Sound itself: waveforms, files, the short-time Fourier transform, mel filter banks. No models here."""
