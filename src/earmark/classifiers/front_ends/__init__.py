"""Front ends: from a waveform to what the backbone eats, differentiable, each clip on its own."""

from ..config import KaldiConfig as KaldiConfig
from ..config import LogMelConfig as LogMelConfig
from ..config import MelConfig as MelConfig
from ..config import MfccConfig as MfccConfig
from ..config import RawConfig as RawConfig
from .base import FrontEnd as FrontEnd
from .base import is_invertible as is_invertible
from .kaldi import KaldiFbank as KaldiFbank
from .log_mel import LogMel as LogMel
from .mel_spectrogram import Mel as Mel
from .mfcc import Mfcc as Mfcc
from .parity import Parity as Parity
from .parity import parity as parity
from .presets import PRESETS as PRESETS
from .presets import named as named
from .processors import EXTRACTORS as EXTRACTORS
from .processors import front_end_of as front_end_of
from .raw import Raw as Raw
from .registry import FRONT_ENDS as FRONT_ENDS
from .registry import front_end_from_dict as front_end_from_dict
