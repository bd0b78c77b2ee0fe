// Package iceagent is what the tests with other implementations of ICE have in common: an
// agent of package ice, of which the tests take one thing after the other.
package iceagent
