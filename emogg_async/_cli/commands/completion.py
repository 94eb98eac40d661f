"""`emogg completion`: prints scripts for the completion of shells."""

import click

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog="""Put it where your shell looks for such scripts, and open a new shell.

    \b
    bash (4.4 or newer), with the package bash-completion:
      mkdir -p ~/.local/share/bash-completion/completions
      emogg completion bash \\
        > ~/.local/share/bash-completion/completions/emogg
    bash without that package:
      echo 'eval "$(emogg completion bash)"' >> ~/.bashrc
    zsh:
      echo 'eval "$(emogg completion zsh)"' >> ~/.zshrc
      (below the line that runs compinit)
    fish:
      mkdir -p ~/.config/fish/completions
      emogg completion fish > ~/.config/fish/completions/emogg.fish
    """
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes `emogg` in SHELL.

    It completes commands, options and their values. The shell runs this command for
    each completion.
    """
    from click.shell_completion import (  # noqa: PLC0415 - the shell's calls bring it
        ShellComplete,
        get_completion_class,
    )

    found = (
        get_completion_class(shell) or ShellComplete
    )  # the base class, which has no script
    script = found(ctx.find_root().command, {}, "emogg", "_EMOGG_COMPLETE")
    # For bash, `script.source()` would run the bash of this machine for its version,
    # and complain where there is none.
    source = ShellComplete.source(script)
    # click's script for fish cuts each completion at a comma.
    source = source.replace('string split ","', 'string split --max 1 ","')
    click.echo(source, nl=False)
