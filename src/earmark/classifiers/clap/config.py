"""The numbers of a CLAP of one's own; no torch here."""

from dataclasses import dataclass

from ...errors import InputError

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class ClapSize:
    """A small `ClapModel`: HTS-AT for sounds, a RoBERTa for texts, and one space for both."""

    rate: int = 16000  # Hz
    clip_s: int = 5  # whole seconds that it hears; shorter clips are repeated, longer ones cut
    n_fft: int = 1024  # window of the features, in samples
    hop_length: int = 313  # samples from frame to frame
    n_mels: int = 64  # mel bands
    spec_size: int = 128  # side of the square picture that the features are folded into
    patch: int = 8  # side of the pieces of the picture that become tokens
    width: int = 64  # of a token at the first stage; each next one doubles it
    depths: str = "1,2"  # attention layers of each stage
    heads: str = "4,8"  # of each stage
    window: int = 8  # side of the squares within which tokens see each other
    text_width: int = 64  # of a token of text
    text_layers: int = 2  # of the text encoder
    vocabulary: int = 400  # most tokens that the tokenizer learns
    dimensions: int = 64  # of the space of sounds and texts
    drop_path: float = 0.1  # chance that a sound passes a layer by, in training
    text_dropout: float = 0.1  # of the text encoder, in training
    text_steps: int = 300  # in which texts of one label are brought together, before any sound is heard
    text_rate: float = 1e-3  # learning rate of these steps
    word_size: float = 0.02  # deviation of the first embeddings of tokens; 0.2 where there are few labels
    per_label: int = 0  # clips of each label in an epoch, drawn anew; 0: as many as the rarest label has
    select_per_label: int = 16  # most clips of each label that choose the epoch

    def __post_init__(self) -> None:
        for name in ("rate", "clip_s", "n_fft", "hop_length", "n_mels", "patch", "width", "window", "text_width"):
            self._require(getattr(self, name) >= 1, f"{name} is 1 or more, got {getattr(self, name)}; change it.")
        for name in ("depths", "heads"):
            parts = getattr(self, name).split(",")
            if not all(part.strip().isdecimal() and int(part) for part in parts):
                raise InputError(f"{name} are whole numbers of 1 or more, such as 1,1,1; got {getattr(self, name)!r}.")
        self._check_stages()
        self._check_picture()

    @property
    def stages(self) -> Numbers:
        """Layers of each stage."""
        return tuple(int(part) for part in self.depths.split(","))

    @property
    def heads_of(self) -> Numbers:
        """Heads of each stage."""
        return tuple(int(part) for part in self.heads.split(","))

    @property
    def n_samples(self) -> int:
        """Samples that the model hears."""
        return self.clip_s * self.rate

    @property
    def n_frames(self) -> int:
        """Frames of the features."""
        return self.n_samples // self.hop_length + 1

    @property
    def folds(self) -> int:
        """Parts of a clip that lie below each other in the picture."""
        return self.spec_size // self.n_mels

    def _check_stages(self) -> None:
        n_stages, n_heads = len(self.stages), len(self.heads_of)
        self._require(n_stages == n_heads, f"depths name {n_stages} stages and heads {n_heads}; name as many.")
        odd = [h for i, h in enumerate(self.heads_of) if self.width * 2**i % h]
        self._require(not odd, f"heads divide the width of their stage, and {odd[:1]} does not; change one.")
        self._require(self.text_width % 4 == 0, f"text_width is a multiple of 4, got {self.text_width}; change it.")

    def _check_picture(self) -> None:
        fits = self.n_mels <= self.spec_size and self.spec_size % self.n_mels == 0
        self._require(fits, f"spec_size is a multiple of n_mels, got {self.spec_size} and {self.n_mels}; change one.")
        smallest = self.patch * 2 ** (len(self.stages) - 1) * self.folds  # one row of each part at the end
        divides = self.spec_size % smallest == 0
        self._require(divides, f"spec_size is a multiple of {smallest} here, got {self.spec_size}; use fewer stages.")
        most = self.spec_size * self.folds
        self._require(
            self.n_frames <= most,
            f"{self.clip_s} s are {self.n_frames} frames, and the picture holds {most}; raise hop_length or spec_size.",
        )

    @staticmethod
    def _require(holds: bool, sentence: str) -> None:
        if not holds:
            raise InputError(sentence)
