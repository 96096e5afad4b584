"""The gRPC transport: HTTP/2 frames to messages, messages to the data plane, answers to frames. It knows no inference."""
