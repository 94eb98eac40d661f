"""`emogg completion`: the scripts with which shells complete this command."""

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

    It completes commands, options and their values, and starts this command for each
    of them.
    """
    from click.shell_completion import (  # noqa: PLC0415 - the shell's calls bring it
        ShellComplete,
        get_completion_class,
    )

    found = get_completion_class(shell) or ShellComplete  # which is for none
    script = found(ctx.find_root().command, {}, "emogg", "_EMOGG_COMPLETE")
    # For bash, `script.source()` would run the bash that it finds here for its version,
    # and complain where there is none, whatever the script is for.
    source = ShellComplete.source(script)
    # Of what is offered to fish, click's script drops what follows a comma.
    source = source.replace('string split ","', 'string split --max 1 ","')
    click.echo(source, nl=False)
