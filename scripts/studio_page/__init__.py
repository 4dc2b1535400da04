"""The page of scripts.studio: what its buttons do (workshop), what it shows (markup), and how both are wired (page)."""
