//! DigitalOcean over HTTP: requests out, live state in.
