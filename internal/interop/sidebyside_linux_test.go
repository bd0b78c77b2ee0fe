package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradawl/bradawl/internal/interop/kernellab"
)

// tool is another program that tells what NAT there is.
type tool struct {
	command  string
	pkg      string // Debian package
	required bool   // in CI
	args     func(server netip.AddrPort) []string
	read     func(output string) answer
}

var tools = []tool{
	{
		"stun", "stun-client", true,
		func(s netip.AddrPort) []string { return []string{s.String()} }, readStun,
	},
	{
		"turnutils_natdiscovery", "coturn", true,
		func(s netip.AddrPort) []string {
			return []string{"-m", "-f", "-p", fmt.Sprint(s.Port()), s.Addr().String()}
		}, readNatdiscovery,
	},
	{
		"stunclient", "stuntman-client", false,
		func(s netip.AddrPort) []string {
			return []string{"--mode", "full", s.Addr().String(), fmt.Sprint(s.Port())}
		}, readStunclient,
	},
}

// Where coturn serves.
var coturnAddrs = []netip.AddrPort{
	netip.MustParseAddrPort("203.0.113.20:3478"),
	netip.MustParseAddrPort("203.0.113.21:3478"),
}

// TestSideBySide has natcheck and whatever else is installed look out from the
// same hosts, and logs what each says and how long it takes. natcheck must be
// right everywhere; the others may say what they like. All ask the same server,
// coturn's: it is nobody's own, and it still speaks RFC 3489, which stun needs.
func TestSideBySide(t *testing.T) {
	lab := kernellab.New(t)
	need(t, "turnserver", "coturn", true)
	var installed []tool
	for _, x := range tools {
		t.Run("have "+x.command, func(t *testing.T) {
			need(t, x.command, x.pkg, x.required)
			installed = append(installed, x)
		})
	}
	bin := buildPrograms(t, "natcheck")
	startCoturn(t, lab)

	rows := atOnce(sites(lab), func(s site) string {
		// One after the other, so that none meets what another left in flight.
		began := time.Now()
		r := checkNatcheck(t, s, bin, coturnAddrs)
		rows := row(s, "natcheck", r.answer(), time.Since(began))
		for _, x := range installed {
			began := time.Now()
			said := x.run(t, s.host)
			rows += row(s, x.command, said, time.Since(began))
		}
		return rows
	})
	logTable(t, "place\ttool\tsays\t\tseconds\n", rows)
}

func row(s site, name string, said answer, took time.Duration) string {
	return fmt.Sprintf("%s\t%s\t%v\t%s\t%.2f\n", s.name, name, said, said.judge(s.truth), took.Seconds())
}

// need skips the test, or fails it in CI if the command is required there, where
// a command is not installed.
func need(t testing.TB, command, pkg string, required bool) {
	t.Helper()
	if _, err := exec.LookPath(command); err == nil {
		return
	}
	const how = "%s is not installed: apt-get install %s"
	if required && os.Getenv("CI") == "true" {
		t.Fatalf(how, command, pkg)
	}
	t.Skipf(how, command, pkg)
}

// run has a tool look out from host. Its exit code means a different thing with
// each of them and is not looked at.
func (x tool) run(t *testing.T, host *kernellab.Namespace) answer {
	t.Helper()
	stdout, stderr, err := runBounded(host.Command(x.command, x.args(coturnAddrs[0])...))
	said := x.read(stdout + stderr)
	if said == (answer{}) {
		t.Logf("%s: %v\n%s%s", x.command, err, stdout, stderr)
	}
	return said
}

// startCoturn runs coturn's STUN server until the test ends, and returns when it
// serves.
func startCoturn(t *testing.T, lab *kernellab.Lab) {
	t.Helper()
	dir := t.TempDir()
	args := []string{
		"-n", "--stun-only", "--no-auth", "--no-tcp", "--no-tls", "--no-dtls", "--no-cli",
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"),
	}
	var addrs []netip.Addr
	for _, a := range coturnAddrs {
		addrs = append(addrs, a.Addr())
		args = append(args, "--listening-ip", a.Addr().String())
	}
	public := lab.Public("coturn", addrs...)
	cmd := public.Command("turnserver", args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // "killed", which it was
		if t.Failed() {
			t.Logf("turnserver said:\n%s", &log)
		}
	})
	for _, a := range coturnAddrs {
		for _, port := range []uint16{a.Port(), a.Port() + 1} {
			awaitSTUN(t, public, netip.AddrPortFrom(a.Addr(), port))
		}
	}
}

// awaitSTUN returns when server answers a Binding request from the same host.
func awaitSTUN(t *testing.T, host *kernellab.Namespace, server netip.AddrPort) {
	t.Helper()
	request := []byte("\x00\x01\x00\x00\x21\x12\xa4\x42bradawl test")
	err := host.Do(func() error {
		c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server))
		if err != nil {
			return err
		}
		defer c.Close()
		answer := make([]byte, 1500)
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			c.Write(request) // refused as long as nobody listens, which the read tells
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			n, err := c.Read(answer)
			if err == nil && strings.HasPrefix(string(answer[:n]), "\x01\x01") {
				return nil
			}
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				<-time.After(20 * time.Millisecond)
			}
		}
		return fmt.Errorf("%v does not answer in %v", server, patience)
	})
	if err != nil {
		t.Fatal(err)
	}
}
