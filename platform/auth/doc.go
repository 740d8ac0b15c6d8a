// Package auth proves who somebody is: passwords, sessions, one-use and API
// tokens, and the limits on guessing. What a role may do is decided elsewhere.
//
// Secrets are kept only as hashes: passwords with argon2id, everything with
// 256 random bits of its own with SHA-256.
package auth
