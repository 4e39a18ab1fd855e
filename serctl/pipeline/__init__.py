"""One plain function per verb: no terminal, no exit; progress goes out through a callback."""
