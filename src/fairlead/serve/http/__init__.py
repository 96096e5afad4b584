"""The HTTP/1.1 transport: bytes to requests, requests to the data plane, answers to bytes. It knows no inference."""
