"""What 8x8 does: checks, sends, keeps, exports, charges. It knows of the wire, and not of the desk."""
