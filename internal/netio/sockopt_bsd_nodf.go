//go:build dragonfly || netbsd || openbsd

package netio

// ipDontFragment is 0: these systems cannot set the bit on UDP over IPv4.
const ipDontFragment = 0
