"""Files of a source's folder that serving needs beside the graph, such as its tokenizer.

No framework is imported here.
"""

from pathlib import Path
from typing import Final

from slipway.specs import Framework

_ASSETS: Final[dict[Framework, tuple[str, ...]]] = {
    "transformers": (
        *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "bpe.codes"),
        *("spiece.model", "sentencepiece.bpe.model", "spm.model", "tokenizer.model"),
        *("preprocessor_config.json", "processor_config.json", "image_processor_config.json"),
    )
}


def source_assets(framework: Framework, folder: Path) -> list[Path]:
    """The files there are, sorted by name; a link among them is not followed."""
    found = [folder / name for name in sorted(_ASSETS.get(framework, ()))]
    return [path for path in found if path.is_file() and not path.is_symlink()]
