"""Trains the network of `FaceScanner` on scenes composed of real faces, of which CenterFace gave the boxes."""
