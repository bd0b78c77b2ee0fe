// Package kernellab builds small internets out of Linux network namespaces, so
// that tests meet the kernel's own NAT: a routed core, public hosts on it, and
// home routers (nftables masquerade, dropping what nobody asked for) with
// hosts or more routers behind them. Everything is made through netlink, without external
// programs, and is gone when the test ends, however it ends: the namespaces
// have no names, only file descriptors.
//
// It needs Linux and root. [New] skips the test where it lacks something and
// says what, or fails it when the environment variable CI is "true".
//
// A process started in a namespace ([Namespace.Command]) is this very
// executable first: it joins the namespace before main and turns into the
// command. Importing the package is all that this needs.
package kernellab
