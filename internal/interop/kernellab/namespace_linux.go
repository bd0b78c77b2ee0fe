package kernellab

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace: a host of its own, with a loopback
// interface that is up.
type Namespace struct {
	Name string // for messages

	t    testing.TB
	file *os.File // keeps the namespace alive; close-on-exec
	nl   *netlink.Handle
}

// newNamespace makes an empty namespace that ends with the test.
func newNamespace(t testing.TB, name string) (*Namespace, error) {
	var fd netns.NsHandle
	err := onThread(func() error {
		var err error
		fd, err = netns.New()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create network namespace: %w", err)
	}
	n := &Namespace{Name: name, t: t, file: os.NewFile(uintptr(fd), "netns "+name)}
	t.Cleanup(func() { n.file.Close() })
	n.nl, err = netlink.NewHandleAt(fd, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink in a network namespace: %w", err)
	}
	t.Cleanup(n.nl.Close)
	return n, n.up("lo")
}

func (n *Namespace) handle() netns.NsHandle { return netns.NsHandle(n.file.Fd()) }

// up sets an interface up.
func (n *Namespace) up(name string) error {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: interface %s: %w", n.Name, name, err)
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: set %s up: %w", n.Name, name, err)
	}
	return nil
}

// Do runs fn on a thread inside the namespace. Sockets that fn opens belong to
// the namespace for good; goroutines that fn starts do not.
func (n *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.handle()); err != nil {
			return fmt.Errorf("%s: enter network namespace: %w", n.Name, err)
		}
		return fn()
	})
}

// onThread runs fn on a locked thread and restores the thread's namespace.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := netns.Get()
		if err != nil {
			result <- err
			return
		}
		defer own.Close()
		err = fn()
		if netns.Set(own) == nil {
			runtime.UnlockOSThread()
		} // else the thread ends with the goroutine, rather than go on in the wrong place
		result <- err
	}()
	return <-result
}

// ListenUDP opens a UDP socket in the namespace, for as long as the test runs.
func (n *Namespace) ListenUDP(address string) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	err := n.Do(func() error {
		a, err := net.ResolveUDPAddr("udp4", address)
		if err != nil {
			return err
		}
		c, err = net.ListenUDP("udp4", a)
		return err
	})
	if err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}
