"""Small helpers of all packages; they know none of them."""
