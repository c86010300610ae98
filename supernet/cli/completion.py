"""Tab completion of the command `supernet`: the stage by its name, what follows by Hydra's completion of that stage.

eval "$(supernet completion bash)"
"""

from ..errors import SupernetError
from ..stages import STAGES

__all__ = ["completion"]

BASH = """\
_supernet_complete() {
  local stage="${COMP_WORDS[1]}" line
  if [ "$COMP_CWORD" -le 1 ]; then
    COMPREPLY=($(compgen -W "@STAGES@" -- "$stage"))
    return
  fi
  case "$stage" in
    @SETTINGS@)
      line="supernet-$stage${COMP_LINE#*"$stage"}"
      COMPREPLY=($(COMP_LINE="$line" COMP_POINT=${#line} "supernet-$stage" -sc query=bash 2>/dev/null)) ;;
  esac
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}  # else bash completes what stands behind the = alone
complete -o nospace -o default -F _supernet_complete supernet
"""


def completion(words: list[str]) -> str:
    """The script for a shell that `words` name; raises SupernetError for another one than bash."""
    if words != ["bash"]:
        raise SupernetError(
            f"supernet completion {' '.join(words)[:40]}: there is one for bash, which zsh takes behind bashcompinit: "
            'eval "$(supernet completion bash)"'
        )
    with_settings = "|".join(name for name, stage in STAGES.items() if stage.config is not None)
    return BASH.replace("@STAGES@", " ".join(STAGES)).replace("@SETTINGS@", with_settings)
