"""Find recordings, decode them, measure their quality, and read them as mono segments."""
