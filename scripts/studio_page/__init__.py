"""Web page of scripts.studio: edits (model, session), files (uploads, downloads), HTML (markup) and Gradio (page)."""
