"""Step 1: any format -> Artifact. Content is sniffed; foreign files are opened only in the sandbox."""
