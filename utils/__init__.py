"""Small helpers of all packages; they import none of them."""
