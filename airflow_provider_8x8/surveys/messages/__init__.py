"""Rows become messages: columns, values, the template, and the key that tells a row from others."""
