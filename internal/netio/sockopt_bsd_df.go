//go:build darwin || freebsd

package netio

import "golang.org/x/sys/unix"

const ipDontFragment = unix.IP_DONTFRAG
