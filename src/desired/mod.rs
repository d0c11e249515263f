//! What should exist: every name, tag, default and digest decided. Pure.
