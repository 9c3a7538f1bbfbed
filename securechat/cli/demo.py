"""``securechat demo``: a real server, two real members, a crash in between, and what the server saw."""

import click


@click.command()
def demo() -> None:
    """Show two members talking through a server that cannot read them, and survive its crash."""
    import trio

    from securechat.ui.demo import play

    trio.run(play, click.echo)
