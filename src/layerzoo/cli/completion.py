"""`zoo completion`: completion scripts for shells, and the candidates that they request.

click provides the mechanism. Its scripts are replaced because ids contain `:`, `@` and `=`, at which bash breaks words,
and so that `--option=value` is completed in every shell. A script sends the line up to the cursor and receives one line
per candidate: its type (plain, partial, file, dir), its value and a short help text, separated by tabs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from layerzoo.cli.choice import WordChoice
from layerzoo.cli.streams import stdout
from layerzoo.printable import printable

_CURSOR = "\0"  # never part of a command line, so that it marks the word to complete
_FIELDS = "\t"


class _Completion(ShellComplete):
    """Behaviour that all shells share."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"] + _CURSOR)
        while words and re.match(r"\w+=", words[0]):  # VARIABLE=value before the command
            words.pop(0)
        return words[1:-1], words[-1].removesuffix(_CURSOR)

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """As click's, but each value is the whole word, option and `=` included."""
        option, equals, _ = incomplete.partition("=")
        is_joined = bool(equals) and option.startswith("-") and "--" not in args
        items = super().get_completions(args, incomplete)
        for item in items:
            if is_joined and item.type in ("file", "dir"):
                item.help = f"{option}{equals}"
            elif is_joined:
                item.value = f"{option}{equals}{item.value}"
        return items

    def format_completion(self, item: CompletionItem[str]) -> str:
        return _FIELDS.join((item.type, printable(item.value), printable(item.help or "").replace(_FIELDS, " ")))


class BashCompletion(_Completion):
    """bash replaces only what follows the last character at which it breaks words, and takes every value as it is."""

    name = "bash"
    source_template = """\
%(complete_func)s() {
    local type value about word=${2-${COMP_WORDS[COMP_CWORD]}} line=${COMP_LINE:0:${COMP_POINT:-0}}
    if [[ -z $line ]]; then
        local IFS=$'\\n'
        line="${COMP_WORDS[*]:0:COMP_CWORD+1}"
    fi
    COMPREPLY=()
    while IFS=$'\\t' read -r type value about; do
        case $type in
            plain) COMPREPLY+=("$value") ;;
            partial) COMPREPLY+=("$value"); compopt -o nospace 2>/dev/null ;;
            dir) compopt -o dirnames 2>/dev/null ;;
            file) compopt -o default 2>/dev/null ;;
        esac
    done < <(%(complete_var)s=bash_complete COMP_WORDS="$line" ZOO_WORD="$word" "${1:-%(prog_name)s}" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s 2>/dev/null || complete -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        # Without a line the script sends the words as bash broke them, one below the other.
        os.environ["COMP_WORDS"] = re.sub(r"\n([=:@]+)(\n|$)", r"\1", os.environ["COMP_WORDS"])
        return super().get_completion_args()

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        start = len(incomplete) - len(_replaced(incomplete))
        items = super().get_completions(args, incomplete)
        for item in items:
            if item.type not in ("file", "dir"):
                begun, ending = item.value[start : len(incomplete)], item.value[len(incomplete) :]
                item.value = begun + _as_typed(ending)  # what is typed already stays as it is
        return items


class ZshCompletion(_Completion):
    name = "zsh"
    source_template = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a values shown begun
    local type value about
    while IFS=$'\\t' read -r type value about; do
        case $type in
            (plain) values+=("$value"); shown+=("$value${about:+  ($about)}") ;;
            (partial) begun+=("$value") ;;
            (dir) compset -P '--*='; _files -/ ;;
            (file) compset -P '--*='; _files ;;
        esac
    done < <(%(complete_var)s=zsh_complete COMP_WORDS="${(j: :)words[1,CURRENT-1]} $PREFIX" ${~words[1]} 2>/dev/null)
    (( $#values )) && compadd -V zoo -d shown -a values
    (( $#begun )) && compadd -V zoo -S '' -a begun
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef %(complete_func)s %(prog_name)s
fi
"""


class FishCompletion(_Completion):
    name = "fish"
    source_template = """\
function %(complete_func)s
    set -l command (commandline -opc)
    env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp | string collect) $command[1] 2>/dev/null |
        while read -l -d \\t type value about
            switch $type
                case plain partial
                    printf '%%s\\t%%s\\n' $value $about
                case dir
                    printf '%%s\\n' $about(__fish_complete_directories "$value")
                case file
                    printf '%%s\\n' $about(__fish_complete_path "$value")
            end
        end
end
complete --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


SHELLS: dict[str, type[_Completion]] = {
    completion.name: completion for completion in (BashCompletion, ZshCompletion, FishCompletion)
}


@click.command("completion")
@click.argument("shell", type=WordChoice(tuple(SHELLS)), metavar="SHELL")
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script for bash, zsh or fish.

    With it the shell SHELL completes verbs, options, ids of models, layers, poolings and plugins.

    \b
    Once, in the file that the shell reads when it starts:
      bash  echo 'eval "$(zoo completion bash)"' >> ~/.bashrc
      zsh   echo 'eval "$(zoo completion zsh)"' >> ~/.zshrc
      fish  zoo completion fish > ~/.config/fish/completions/zoo.fish
    """
    click.echo(SHELLS[shell](ctx.find_root().command, {}, "zoo", "_ZOO_COMPLETE").source(), nl=False, file=stdout())


def answer(group: click.Command, instruction: str, *, variable: str) -> None:
    """Print the candidates for the word at the cursor. No error is reported: the user is typing a line.

    Args:
        group: the root command.
        instruction: the shell and the action, such as ``bash_complete``.
        variable: the environment variable that the script sets.
    """
    shell, _, _ = instruction.partition("_")
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            candidates = SHELLS[shell](group, {}, "zoo", variable).complete()
        except (Exception, SystemExit):  # noqa: BLE001 - see above
            return
    click.echo(candidates.encode("utf-8", "replace"))


def _replaced(incomplete: str) -> str:
    """Return the end of the word that bash will replace. The script receives its text, not its position."""
    end = os.environ.get("ZOO_WORD", "").lstrip("=:")
    return end if incomplete.endswith(end) else incomplete


def _as_typed(value: str) -> str:
    """Escape characters that the shell would interpret; inside quotes they need no escape."""
    try:
        shlex.split(os.environ["COMP_WORDS"])
    except ValueError:  # a quote is open
        return value
    return re.sub(r"([\s*?\[\]{}()$`\"'\\|&;<>!#])", r"\\\1", value)
