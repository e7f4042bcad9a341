"""Pre-trained networks: `networks` builds them, `weights` finds their files, `layout` knows where their parts are."""
